"""Every refusal.

* SluiceError
  x Refused          a user asked for something that cannot be: says what, where and what to do, all at once
  x LeaseLost        another worker has taken this external account's cycle over: stop, it carries on
  x TurnSuperseded   the import was edited, paused, deleted or undone while a page was under way: drop the page
  x TokenRevoked     whoever is listening may not any more
  x Misconfigured    the operator must change a setting
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Self


class ErrorCode(StrEnum):
    """What kind of problem a user's input has."""

    ALREADY_UNDONE = "ALREADY_UNDONE"
    BLANK = "BLANK"
    CONTACT_LIMIT = "CONTACT_LIMIT"
    CREDENTIALS_REJECTED = "CREDENTIALS_REJECTED"
    INVALID = "INVALID"
    IN_USE = "IN_USE"
    NEEDS_RECONNECT = "NEEDS_RECONNECT"
    NEEDS_REVIEW = "NEEDS_REVIEW"
    NOT_CONFIGURED = "NOT_CONFIGURED"
    NOT_FOUND = "NOT_FOUND"
    PAUSED = "PAUSED"
    SERVICE_UNAVAILABLE = "SERVICE_UNAVAILABLE"
    TAKEN = "TAKEN"
    TOO_LONG = "TOO_LONG"
    TOO_MANY = "TOO_MANY"
    UNDO_EXPIRED = "UNDO_EXPIRED"
    UNDO_UNDER_WAY = "UNDO_UNDER_WAY"
    WRONG_EXTERNAL_ACCOUNT = "WRONG_EXTERNAL_ACCOUNT"


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong; `field` is the path inside the input, empty for the whole."""

    code: ErrorCode
    message: str
    field: tuple[str, ...] = ()


class SluiceError(Exception):
    """Base class of every error of ours."""


class Refused(SluiceError):
    """What was asked for cannot be done as asked; nothing was changed."""

    def __init__(self, *problems: Problem) -> None:
        super().__init__("; ".join(problem.message for problem in problems))
        self.problems: Sequence[Problem] = problems

    def inside(self, field: str) -> Self:
        """The same problems, of an object that stands in `field`."""
        return type(self)(
            *(Problem(problem.code, problem.message, (field, *problem.field)) for problem in self.problems)
        )


def not_found(noun: str, *field: str) -> Refused:
    """The refusal of an id that names nothing in this account, be it unknown or someone else's."""
    return Refused(Problem(ErrorCode.NOT_FOUND, f"There is no {noun} with this id in your account.", field))


class LeaseLost(SluiceError):
    """Another worker has taken over; whatever this one holds must not be stored."""


class TurnSuperseded(SluiceError):
    """The automatic import changed while a page was under way, and the change wins (R14)."""


class TokenRevoked(SluiceError):
    """The token of a stream under way was revoked."""


class Misconfigured(SluiceError):
    """A setting is missing or wrong; the message names it and what to do."""
