"""GraphQL over HTTP, WebSocket (graphql-transport-ws) and SSE (graphql-sse, distinct connections)."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import orjson
import strawberry
from cross_web import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket
from strawberry.asgi import GraphQL
from strawberry.subscriptions import GRAPHQL_SSE_PROTOCOL, GRAPHQL_TRANSPORT_WS_PROTOCOL

from api.auth import AuthenticatedSocket, introduced
from api.callback_url import callback_url
from api.context import Context
from domain.catalogue import Catalogue
from domain.events import Events, Watch
from domain.queue import Queue

INTRODUCTION_TIMEOUT = timedelta(seconds=10)


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """What a composition root gives to every request."""

    catalogue: Catalogue
    queue: Queue
    events: Events
    watch: Watch


class GraphQLEndpoint(GraphQL[Context, None]):
    """The endpoint. Strawberry is configured by overriding."""

    graphql_transport_ws_handler_class = AuthenticatedSocket

    def __init__(self, schema: strawberry.Schema, services: Services, *, origins: Sequence[str]) -> None:
        super().__init__(
            schema,
            graphql_ide=None,
            allow_queries_via_get=False,
            subscription_protocols=(GRAPHQL_TRANSPORT_WS_PROTOCOL, GRAPHQL_SSE_PROTOCOL),
            connection_init_wait_timeout=INTRODUCTION_TIMEOUT,
            allowed_origins=origins,
        )
        self._services = services

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await super().__call__(scope, receive, send)
            return
        response: Response
        try:
            response = await self.run(Request(scope, receive))
        except HTTPException as error:
            told = {"message": error.reason, "extensions": {"code": "BAD_REQUEST"}}
            response = JSONResponse({"errors": [told]}, status_code=error.status_code)
        await response(scope, receive, send)

    async def get_context(self, request: Request | WebSocket, response: Response | WebSocket) -> Context:
        services = self._services
        return Context(
            catalogue=services.catalogue,
            queue=services.queue,
            events=services.events,
            watch=services.watch,
            viewer=request.scope.get("viewer"),
            callback_url=callback_url(request.url),
        )

    async def on_ws_connect(self, context: Context) -> Any:
        context.viewer = await introduced(context.connection_params)
        return await super().on_ws_connect(context)

    def encode_json(self, data: object) -> str:
        # Text, not bytes: graphql-transport-ws knows no binary messages.
        return orjson.dumps(data).decode()

    def decode_json(self, data: str | bytes) -> object:
        decoded = orjson.loads(data)
        if not isinstance(decoded, dict):
            raise orjson.JSONDecodeError("A request is a JSON object.", str(data)[:50], 0)
        return decoded
