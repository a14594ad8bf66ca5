"""Who is asking: a bearer token, over HTTP in a header, over WebSocket in the `connection_init` payload."""

from collections.abc import Iterator
from typing import Any

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send
from strawberry.exceptions import ConnectionRejectionError
from strawberry.extensions import SchemaExtension
from strawberry.subscriptions.protocols.graphql_transport_ws.handlers import BaseGraphQLTransportWSHandler
from strawberry.subscriptions.protocols.graphql_transport_ws.types import SubscribeMessage
from strawberry.types.graphql import OperationType

from api.context import Context
from api.user_errors import Forbidden
from domain import account
from domain.account import Viewer

MISSING = "Send your token as `Authorization: Bearer slc_…`."
UNKNOWN = "This token is unknown or was revoked. Ask for a new one."


class Authentication:
    """Lets HTTP requests pass that bring a valid token. WebSockets introduce themselves once they are open."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            token = bearer_token(Headers(scope=scope).get("authorization"))
            viewer = await account.authenticate(token) if token else None
            if viewer is None:
                await _unauthenticated(UNKNOWN if token else MISSING)(scope, receive, send)
                return
            scope["viewer"] = viewer
        await self._app(scope, receive, send)


class AuthenticatedSocket(BaseGraphQLTransportWSHandler[Context, None]):
    """Asks again with every operation: a token may be revoked while its connection stays open."""

    async def handle_subscribe(self, message: SubscribeMessage) -> None:
        """Run the operation, or close the connection."""
        viewer = self.context.viewer
        if viewer is not None and not await account.is_valid(viewer):
            await self.websocket.close(code=4403, reason=UNKNOWN)
            return
        await super().handle_subscribe(message)


async def introduced(connection_params: Any) -> Viewer:
    """Who a WebSocket's `connection_init` payload says it is; it is closed with 4403 otherwise."""
    token = bearer_token(connection_params.get("authorization")) if isinstance(connection_params, dict) else None
    viewer = await account.authenticate(token) if token else None
    if viewer is None:
        raise ConnectionRejectionError
    return viewer


def bearer_token(authorization: object) -> str | None:
    """The token of an `Authorization` value, or None where it has none (RFC 6750, 2.1)."""
    if not isinstance(authorization, str):
        return None
    scheme, _, token = authorization.partition(" ")
    token = token.strip()
    return token if scheme.lower() == "bearer" and token.startswith(account.TOKEN_PREFIX) else None


def _unauthenticated(message: str) -> JSONResponse:
    error = {"message": message, "extensions": {"code": "UNAUTHENTICATED"}}
    return JSONResponse({"errors": [error]}, status_code=401, headers={"WWW-Authenticate": "Bearer"})


class CheckScope(SchemaExtension):
    """A token that is limited to reading changes nothing, one that is limited to writing sees nothing."""

    def on_execute(self) -> Iterator[None]:
        """Refuse the operation before anything of it runs."""
        scope = account.WRITE if self.execution_context.operation_type is OperationType.MUTATION else account.READ
        context: Context | None = self.execution_context.context
        # Without a context nobody asks: the schema is printed or introspected by ourselves.
        if context is not None and not context.known_viewer.may(scope):
            raise Forbidden(f"Your token may not {scope}. Use one that was made with `--scope {scope}`.")
        yield
