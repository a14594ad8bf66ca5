"""What keeps one request from taking the whole process: its size, and how much it may ask for."""

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from graphql import GraphQLSyntaxError, OperationDefinitionNode
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from strawberry.extensions import AddValidationRules, MaxTokensLimiter, ParserCache, SchemaExtension, ValidationCache

from api.auth import CheckScope
from api.errors import ShowErrors
from api.query_cost import CostRule
from api.user_errors import BadUserInput

MAX_BODY_BYTES = 1024 * 1024
MAX_TOKENS = 2000
MAX_CACHED_DOCUMENTS = 128
SEVERAL_OPERATIONS = "This document has several operations. Say in `operationName` which of them to run."


class DocumentCache(ParserCache):
    """Keeps parsed documents. One that does not parse is left to the executor, which reports it on every transport."""

    def on_parse(self) -> Iterator[None]:
        """Answer from the cache where the document is in it."""
        context = self.execution_context
        with suppress(GraphQLSyntaxError):
            context.graphql_document = self.cached_parse_document(context.query, **context.parse_options)
        yield


class OneOperation(SchemaExtension):
    """Of a document with several operations, runs the one that is named, and none where none is (GraphQL, 6.1)."""

    def on_validate(self) -> Iterator[None]:
        """Refuse the document before anything of it runs: Strawberry would take the first for the one."""
        context = self.execution_context
        document = context.graphql_document
        if document and not context.pre_execution_errors and context._provided_operation_name is None:
            operations = [each for each in document.definitions if isinstance(each, OperationDefinitionNode)]
            if len(operations) > 1:
                context.pre_execution_errors = [BadUserInput(SEVERAL_OPERATIONS)]
        yield


EXTENSIONS = (
    lambda: MaxTokensLimiter(max_token_count=MAX_TOKENS),
    # One rule class for all requests: the cache of validations is keyed by the rules too.
    lambda: AddValidationRules([CostRule]),
    lambda: DocumentCache(maxsize=MAX_CACHED_DOCUMENTS),
    lambda: ValidationCache(maxsize=MAX_CACHED_DOCUMENTS),
    # Behind the cache, which sets what is wrong with a document under whatever name it is run.
    OneOperation,
    CheckScope,
    ShowErrors,
)


class BodyLimit:
    """Refuses HTTP bodies and WebSocket messages that are larger than any honest one."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        match scope["type"]:
            case "http":
                await self._http(scope, receive, send)
            case "websocket":
                await self._app(scope, _limited_messages(receive, send), send)
            case _:
                await self._app(scope, receive, send)

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = bytearray()
        more = True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body += message.get("body", b"")
            more = message.get("more_body", False)
            if len(body) > MAX_BODY_BYTES:
                await _too_large()(scope, receive, send)
                return
        await self._app(scope, _replay(bytes(body), receive), send)


def _too_large() -> JSONResponse:
    message = f"The request is larger than {MAX_BODY_BYTES} bytes. Send less at a time."
    error: dict[str, Any] = {"message": message, "extensions": {"code": "TOO_LARGE"}}
    return JSONResponse({"errors": [error]}, status_code=413)


def _replay(body: bytes, receive: Receive) -> Receive:
    """What was read already, then whatever comes: a later disconnect ends streams."""
    waiting: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return waiting.pop() if waiting else await receive()

    return replay


def _limited_messages(receive: Receive, send: Send) -> Receive:
    async def limited() -> Message:
        message = await receive()
        if message["type"] == "websocket.receive":
            size = len((message.get("text") or "").encode()) + len(message.get("bytes") or b"")
            if size > MAX_BODY_BYTES:
                # RFC 6455, 7.4.1: the message is too big.
                await send({"type": "websocket.close", "code": 1009})
                return {"type": "websocket.disconnect", "code": 1009}
        return message

    return limited
