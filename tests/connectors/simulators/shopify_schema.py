"""The part of Shopify's Admin GraphQL schema that the simulator answers, and what questions cost.

https://shopify.dev/docs/api/admin-graphql/2026-10, https://shopify.dev/docs/api/usage/limits
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from graphql import (
    DocumentNode,
    FieldNode,
    GraphQLObjectType,
    GraphQLSchema,
    InlineFragmentNode,
    OperationDefinitionNode,
    SelectionSetNode,
    build_schema,
    get_named_type,
    is_leaf_type,
    value_from_ast_untyped,
)

SCHEMA: GraphQLSchema = build_schema("""
schema { query: QueryRoot mutation: Mutation }
scalar DateTime
scalar Decimal
scalar UnsignedInt64
scalar URL
interface Node { id: ID! }
type QueryRoot {
  bulkOperation(id: ID!): BulkOperation
  currentAppInstallation: AppInstallation!
  customers(
    after: String, before: String, first: Int, last: Int, query: String, reverse: Boolean = false,
    sortKey: CustomerSortKeys = ID
  ): CustomerConnection!
  customersCount(limit: Int = 10000, query: String): Count
  metafieldDefinitions(
    after: String, first: Int, ownerType: MetafieldOwnerType!, reverse: Boolean = false,
    sortKey: MetafieldDefinitionSortKeys = ID
  ): MetafieldDefinitionConnection!
  nodes(ids: [ID!]!): [Node]!
  shop: Shop!
}
type Mutation {
  bulkOperationRunQuery(groupObjects: Boolean! = false, query: String!): BulkOperationRunQueryPayload
}
type Shop implements Node { id: ID! name: String! myshopifyDomain: String! }
type AppInstallation implements Node { id: ID! accessScopes: [AccessScope!]! }
type AccessScope { handle: String! }
type Count { count: Int! precision: CountPrecision! }
enum CountPrecision { AT_LEAST EXACT }
enum CustomerSortKeys { CREATED_AT ID LOCATION NAME RELEVANCE UPDATED_AT }
enum MetafieldOwnerType { CUSTOMER ORDER PRODUCT SHOP }
enum MetafieldDefinitionSortKeys { ID NAME PINNED_POSITION RELEVANCE }
type PageInfo { endCursor: String hasNextPage: Boolean! hasPreviousPage: Boolean! startCursor: String }
type CustomerConnection { edges: [CustomerEdge!]! nodes: [Customer!]! pageInfo: PageInfo! }
type CustomerEdge { cursor: String! node: Customer! }
type Customer implements Node {
  amountSpent: MoneyV2!
  createdAt: DateTime!
  defaultAddress: MailingAddress
  defaultEmailAddress: CustomerEmailAddress
  defaultPhoneNumber: CustomerPhoneNumber
  firstName: String
  id: ID!
  lastName: String
  legacyResourceId: UnsignedInt64!
  locale: String!
  metafield(key: String!, namespace: String): Metafield
  note: String
  numberOfOrders: UnsignedInt64!
  tags: [String!]!
  updatedAt: DateTime!
}
type MoneyV2 { amount: Decimal! currencyCode: CurrencyCode! }
enum CurrencyCode { EUR USD }
enum CountryCode { CA DE GB US }
type MailingAddress implements Node {
  address1: String address2: String city: String company: String country: String countryCodeV2: CountryCode id: ID!
  phone: String province: String zip: String
}
type CustomerEmailAddress {
  emailAddress: String!
  marketingOptInLevel: CustomerMarketingOptInLevel
  marketingState: CustomerEmailAddressMarketingState!
}
enum CustomerMarketingOptInLevel { CONFIRMED_OPT_IN SINGLE_OPT_IN UNKNOWN }
enum CustomerEmailAddressMarketingState { INVALID NOT_SUBSCRIBED PENDING SUBSCRIBED UNSUBSCRIBED }
type CustomerPhoneNumber { phoneNumber: String! }
type Metafield implements Node { id: ID! key: String! namespace: String! type: String! value: String! }
type MetafieldDefinitionConnection { nodes: [MetafieldDefinition!]! pageInfo: PageInfo! }
type MetafieldDefinition implements Node {
  id: ID! key: String! name: String! namespace: String! type: MetafieldDefinitionType!
}
type MetafieldDefinitionType { category: String! name: String! }
type BulkOperation implements Node {
  completedAt: DateTime
  createdAt: DateTime!
  errorCode: BulkOperationErrorCode
  fileSize: UnsignedInt64
  id: ID!
  objectCount: UnsignedInt64!
  partialDataUrl: URL
  rootObjectCount: UnsignedInt64!
  status: BulkOperationStatus!
  url: URL
}
enum BulkOperationStatus { CANCELED CANCELING COMPLETED CREATED EXPIRED FAILED RUNNING }
enum BulkOperationErrorCode { ACCESS_DENIED INTERNAL_SERVER_ERROR TIMEOUT }
type BulkOperationRunQueryPayload { bulkOperation: BulkOperation userErrors: [BulkOperationUserError!]! }
type BulkOperationUserError { code: BulkOperationUserErrorCode field: [String!] message: String! }
enum BulkOperationUserErrorCode { INVALID LIMIT_REACHED OPERATION_IN_PROGRESS }
""")


@dataclass(slots=True, kw_only=True)
class Bucket:
    """Holds so many points, of which so many come back each second: those of a shop with an ordinary plan.

    `is_limited`, a switch: else nothing is taken out. Its seconds pass when a test says so.
    """

    size: float = 2_000
    restores: float = 100
    available: float = 2_000
    is_limited: bool = False

    def pay(self, points: int) -> bool:
        """Take the points out, if there are so many."""
        if not self.is_limited:
            return True
        if points > self.available:
            return False
        self.available -= points
        return True

    def give_back(self, points: int, spent: int) -> int:
        """Put back what an answer did not cost after all. Returns what it did."""
        self.available = min(self.size, self.available + max(points - spent, 0))
        return min(points, spent)

    def pass_time(self, seconds: float) -> None:
        """Let so much time go by."""
        self.available = min(self.size, self.available + seconds * self.restores)

    def cost(self, requested: int, actual: int | None) -> dict[str, Any]:
        """What an answer says of its cost."""
        status = {
            "maximumAvailable": self.size,
            "currentlyAvailable": int(self.available),
            "restoreRate": self.restores,
        }
        return {"requestedQueryCost": requested, "actualQueryCost": actual, "throttleStatus": status}


def cost(document: DocumentNode, variables: Mapping[str, Any]) -> int:
    """The points of a question: one for each object that it may bring, two for a connection, ten for a mutation."""
    operation = next(each for each in document.definitions if isinstance(each, OperationDefinitionNode))
    root = SCHEMA.get_root_type(operation.operation)
    assert root is not None
    return (10 if root.name == "Mutation" else 0) + _cost(root, operation.selection_set, variables)


def spent(data: Any) -> int:
    """The points of an answer: one for each object that it brings."""
    if isinstance(data, list):
        return sum(spent(each) for each in data)
    return 1 + sum(spent(each) for each in data.values()) if isinstance(data, dict) else 0


def _cost(parent: GraphQLObjectType, selected: SelectionSetNode, variables: Mapping[str, Any]) -> int:
    points = 0
    for each in selected.selections:
        if isinstance(each, InlineFragmentNode):
            assert each.type_condition is not None
            kind = SCHEMA.type_map[each.type_condition.name.value]
            assert isinstance(kind, GraphQLObjectType)
            points += _cost(kind, each.selection_set, variables)
        elif isinstance(each, FieldNode):
            points += _field_cost(parent, each, variables)
    return points


def _field_cost(parent: GraphQLObjectType, field: FieldNode, variables: Mapping[str, Any]) -> int:
    kind = get_named_type(parent.fields[field.name.value].type)
    if is_leaf_type(kind) or field.selection_set is None:
        return 0
    given = {each.name.value: value_from_ast_untyped(each.value, dict(variables)) for each in field.arguments or ()}
    inner = _cost(kind, field.selection_set, variables) if isinstance(kind, GraphQLObjectType) else 0
    if kind.name.endswith("Connection"):
        return 2 + int(given.get("first") or given.get("last") or 0) * inner
    if kind.name == "PageInfo":
        return 0
    if kind.name == "Node":
        chosen = [each for each in field.selection_set.selections if isinstance(each, InlineFragmentNode)]
        customer = SCHEMA.type_map["Customer"]
        assert isinstance(customer, GraphQLObjectType)
        return len(given["ids"]) * (1 + sum(_cost(customer, each.selection_set, variables) for each in chosen))
    return 1 + inner
