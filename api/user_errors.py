"""What is wrong with a request, told so that whoever sent it can put it right."""

from collections.abc import Mapping
from typing import Any

import strawberry
from graphql import GraphQLError

from api.enums import describe
from domain.errors import ErrorCode, Problem, Refused

describe(
    ErrorCode,
    "What kind of problem an input has.",
    name="UserErrorCode",
    ALREADY_UNDONE="The run is undone already.",
    BLANK="Something has to be entered here.",
    CONTACT_LIMIT="The plan's contact limit has no room: choose a larger plan, or unsubscribe or delete contacts.",
    CREDENTIALS_REJECTED="The service does not accept these credentials.",
    INVALID="The value does not fit; the message says why.",
    IN_USE="Something else needs it; the message says what to change first.",
    NEEDS_RECONNECT="The service does not accept the stored credentials any more: reconnect first.",
    NEEDS_REVIEW="The automatic import waits for your judgement: approve its run, or drop it.",
    NOT_CONFIGURED="The operator of this server has to set something first; the message says what.",
    NOT_FOUND="Your account has nothing with this id.",
    PAUSED="The automatic import is paused: resume it first.",
    SERVICE_UNAVAILABLE="The service cannot be reached now: try again later.",
    TAKEN="The name is in use.",
    TOO_LONG="The text is too long.",
    TOO_MANY="As many as may be are under way: wait until one of them is done.",
    UNDO_EXPIRED="What is needed to undo this is not kept any more.",
    UNDO_UNDER_WAY="Runs of this automatic import are being undone: wait until that is done.",
    WRONG_EXTERNAL_ACCOUNT="The credentials open another account at the service than the one connected.",
)


@strawberry.type(description="A problem with a mutation's input. Nothing was changed.")
class UserError:
    code: ErrorCode = strawberry.field(description="What kind of problem it is, for programs.")
    field: list[str] = strawberry.field(description="Where it is: the path inside `input`, empty for the whole.")
    message: str = strawberry.field(description="What is wrong and what to do, for people.")


class BadUserInput(GraphQLError):
    """A request that no form of ours could have sent. The message says what to send instead."""

    def __init__(self, message: str) -> None:
        super().__init__(message, extensions={"code": "BAD_USER_INPUT"})


class Unauthenticated(GraphQLError):
    """Nobody we know is asking."""

    def __init__(self, message: str) -> None:
        super().__init__(message, extensions={"code": "UNAUTHENTICATED"})


class Forbidden(GraphQLError):
    """The token's scopes do not reach that far."""

    def __init__(self, message: str) -> None:
        super().__init__(message, extensions={"code": "FORBIDDEN"})


def object_of(value: object, field: str) -> Mapping[str, Any] | None:
    """The JSON object given in `field`, if any was; Refused where it is another kind of JSON."""
    if value is None or isinstance(value, dict):
        return value
    raise Refused(Problem(ErrorCode.INVALID, f"`{field}` must be a JSON object.", (field,)))


def user_errors(refused: Refused) -> list[UserError]:
    """Every problem at once, as forms need them."""
    return [
        UserError(code=problem.code, field=list(problem.field), message=problem.message) for problem in refused.problems
    ]
