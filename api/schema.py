"""The schema: every type, query, mutation and subscription, and what guards them. schema.graphql is its print."""

from functools import cache
from typing import Annotated

import strawberry
from strawberry.schema.config import StrawberryConfig

from api import limits
from api.account import AccountMutations, AccountQueries
from api.automatic_imports import AutomaticImportMutations, AutomaticImportQueries
from api.catalogue import CatalogueQueries
from api.contacts import ContactMutations, ContactQueries
from api.context import Info, account_id
from api.errors import ReportingSchema
from api.executor import CompiledExecutor
from api.external_accounts import ExternalAccountMutations, ExternalAccountQueries
from api.fields import FieldMutations, FieldQueries
from api.import_previews import ImportPreviewMutations, ImportPreviewQueries
from api.import_runs import ImportRunMutations, ImportRunQueries, ImportRunSubscriptions
from api.import_undos import ImportUndoMutations, ImportUndoQueries
from api.lists import ListMutations, ListQueries
from api.node import Node, find_node
from api.service_authorizations import ServiceAuthorizationMutations, ServiceAuthorizationQueries


@strawberry.type
class NodeQueries:
    @strawberry.field(description="Whatever has this id; null where your account has nothing with it.")
    async def node(
        self,
        info: Info,
        id: Annotated[strawberry.ID, strawberry.argument(description="Any node's id.")],  # noqa: A002
    ) -> Node | None:
        return await find_node(account_id(info), id)


@strawberry.type(description="What can be read. Everything belongs to the account of your token.")
class Query(
    NodeQueries,
    AccountQueries,
    ContactQueries,
    FieldQueries,
    ListQueries,
    CatalogueQueries,
    ExternalAccountQueries,
    ServiceAuthorizationQueries,
    AutomaticImportQueries,
    ImportRunQueries,
    ImportUndoQueries,
    ImportPreviewQueries,
):
    pass


@strawberry.type(
    description="What can be changed. Problems of the input come back as `userErrors`, all at once, and change nothing."
)
class Mutation(
    AccountMutations,
    ContactMutations,
    FieldMutations,
    ExternalAccountMutations,
    ServiceAuthorizationMutations,
    AutomaticImportMutations,
    ImportRunMutations,
    ImportUndoMutations,
    ListMutations,
    ImportPreviewMutations,
):
    pass


@strawberry.type(description="What can be followed live, over WebSocket (graphql-transport-ws) or SSE.")
class Subscription(ImportRunSubscriptions):
    pass


@cache
def build_schema(*, fast_executor: bool) -> strawberry.Schema:
    """The schema, with or without the compiled executor."""
    return ReportingSchema(
        query=Query,
        mutation=Mutation,
        subscription=Subscription,
        config=StrawberryConfig(),
        extensions=limits.EXTENSIONS,
        execution_context_class=CompiledExecutor if fast_executor else None,
    )


schema = build_schema(fast_executor=True)
