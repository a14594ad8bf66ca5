"""Which errors clients see as they are, and what becomes of the others."""

from collections.abc import Iterable
from typing import Any

import strawberry
import structlog
from graphql import GraphQLError
from strawberry.extensions import MaskErrors
from strawberry.types import ExecutionResult
from strawberry.types.execution import ExecutionContext
from strawberry.types.graphql import OperationType

from api.user_errors import BadUserInput, Forbidden, Unauthenticated
from domain import database
from domain.errors import ErrorCode, Misconfigured, Refused, TokenRevoked
from domain.logs import trace

log = structlog.get_logger()

NOT_CONFIGURED = "This server's configuration does not fit its database; its operator's log says more."
AWAY = "The server cannot reach its database at the moment. Try again in a few seconds."
UNAVAILABLE = "UNAVAILABLE"
UNEXPECTED = "Something went wrong on our side. Try again; if it happens again, tell us when it did."


class ShowErrors(MaskErrors):
    """Errors of the request itself, and ours that are meant for users, are shown with a code; all others are masked."""

    def __init__(self) -> None:
        super().__init__(should_mask_error=_has_cause)

    def anonymise_error(self, error: GraphQLError) -> GraphQLError:
        """The error as a client sees it."""
        message, code = _told(_innermost(error))
        return GraphQLError(
            message,
            nodes=error.nodes,
            source=error.source,
            positions=error.positions,
            path=error.path,
            extensions={"code": code},
        )


class ReportingSchema(strawberry.Schema):
    """A schema that logs what it masks, once, without anything that the client sent."""

    async def execute(
        self,
        query: str | None,
        variable_values: dict[str, Any] | None = None,
        context_value: Any | None = None,
        root_value: Any | None = None,
        operation_name: str | None = None,
        allowed_operation_types: Iterable[OperationType] | None = None,
        operation_extensions: dict[str, Any] | None = None,
    ) -> ExecutionResult:
        """Run what has one answer. A subscription has many: it is for the transports that stream."""
        allowed = {OperationType.QUERY, OperationType.MUTATION}
        return await super().execute(
            query,
            variable_values,
            context_value,
            root_value,
            operation_name,
            allowed & set(allowed_operation_types or allowed),
            operation_extensions,
        )

    def process_errors(self, errors: list[GraphQLError], execution_context: ExecutionContext | None = None) -> None:
        """Log the errors that are our fault."""
        for error in errors:
            original = _innermost(error)
            path = ".".join(str(part) for part in error.path or ())
            if isinstance(original, Misconfigured):
                # Its message is for the operator, and holds no secret.
                log.error("graphql.misconfigured", path=path, error=str(original))
            elif _has_cause(error) and isinstance(original, database.UNAVAILABLE):
                log.warning("graphql.database_unavailable", path=path, error=type(original).__name__)
            elif _has_cause(error) and _told(original)[1] == "INTERNAL":
                log.error("graphql.unexpected_error", path=path, **trace(original))


def _has_cause(error: GraphQLError) -> bool:
    """Whether something of ours failed. Without a path it is the request itself, as with variables of a wrong type."""
    original = error.original_error
    return original is not None and not (error.path is None and isinstance(original, GraphQLError))


def _innermost(error: Exception) -> Exception:
    while isinstance(error, GraphQLError) and error.original_error is not None:
        error = error.original_error
    return error


def _told(original: Any) -> tuple[str, str]:
    """The message and the code that stand for an error."""
    match original:
        case Refused():
            return str(original), original.problems[0].code
        case TokenRevoked():
            return str(original), "UNAUTHENTICATED"
        case BadUserInput() | Unauthenticated() | Forbidden():
            return original.message, str((original.extensions or {})["code"])
        case Misconfigured():
            return NOT_CONFIGURED, ErrorCode.NOT_CONFIGURED.value
        case _ if isinstance(original, database.UNAVAILABLE):
            return AWAY, UNAVAILABLE
        case _:
            return UNEXPECTED, "INTERNAL"
