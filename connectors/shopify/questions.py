"""The questions by which a shop's customers are read, and the shapes of their answers.

https://shopify.dev/docs/api/admin-graphql/2026-10/queries/customers
"""

from pydantic import AwareDatetime

from connectors.shopify.api import Shape
from connectors.shopify.customers import MOST_METAFIELDS, Customer, Definition

BEGIN = f"""
query ($query: String) {{
  customersCount(limit: null) {{ count }}
  matching: customers(first: 1, query: $query) {{ nodes {{ id }} }}
  latest: customers(first: 1, sortKey: UPDATED_AT, reverse: true) {{ nodes {{ updatedAt }} }}
  metafieldDefinitions(ownerType: CUSTOMER, first: {MOST_METAFIELDS}, sortKey: PINNED_POSITION) {{
    nodes {{ namespace key name type {{ name }} }}
  }}
}}
"""


class Count(Shape):
    """How many there are."""

    count: int


class Node(Shape):
    """That there is one."""

    id: str


class Time(Shape):
    """When somebody changed."""

    updated_at: AwareDatetime


class Matching(Shape):
    """One who matches, if there is one."""

    nodes: tuple[Node, ...]


class Latest(Shape):
    """Who changed last."""

    nodes: tuple[Time, ...]


class Definitions(Shape):
    """The metafields of customers."""

    nodes: tuple[Definition, ...]


class Beginning(Shape):
    """What has to be known before everybody is read."""

    customers_count: Count | None
    matching: Matching
    latest: Latest
    metafield_definitions: Definitions


class PageInfo(Shape):
    """Whether a listing goes on, and where."""

    has_next_page: bool
    end_cursor: str | None


class Connection(Shape):
    """A page of a listing."""

    nodes: tuple[Customer, ...]
    page_info: PageInfo


class Customers(Shape):
    """The answer to a listing."""

    customers: Connection


class Nodes(Shape):
    """Customers by id, as asked for; None where there is none."""

    nodes: tuple[Customer | None, ...]


class Changed(Shape):
    """Who changed, and when."""

    id: str
    updated_at: AwareDatetime


class Times(Shape):
    """When customers changed, by id; None where there is none."""

    nodes: tuple[Changed | None, ...]


LIST = """
query ($query: String, $sortKey: CustomerSortKeys, $first: Int!, $after: String) {
  customers(query: $query, sortKey: $sortKey, first: $first, after: $after) {
    nodes { %s } pageInfo { hasNextPage endCursor }
  }
}
"""
AGAIN = """
query ($ids: [ID!]!) { nodes(ids: $ids) { ... on Customer { %s } } }
"""
TIMES = AGAIN % "id updatedAt"
