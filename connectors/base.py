"""What every connector produces, what a service declares, and the four ways reading can fail.

* ConnectorError
  x TransientError           busy or unreachable: try again later
  x AccessRevokedError       ask the owner to reconnect
  x CheckpointExpiredError   start again with a full sweep
  x UnexpectedResponseError  the service broke its contract: the run fails with a readable reason
"""

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from typing import Any, Protocol, TypeVar

import httpx
from pydantic import BaseModel, SecretStr, ValidationError

from domain.records import FieldSpec, Record

MAX_PAGE_RECORDS = 500
"""The most records a page may hold: one page is one database transaction."""

Checkpoint = Mapping[str, Any]
"""JSON, opaque to everyone but the connector that made it."""

Restored = TypeVar("Restored", bound=BaseModel)


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Records, and the checkpoint that is true once they are stored.

    `fields` describes every key that occurs in the records' values. `sweep`: it belongs to a reading of everything
    that matches, which begins where there is no checkpoint or behind a page that is `complete`, and ends with the next
    such page: only then does absence mean anything. `wait` says "ask again then", which is no error (a bulk operation
    still running).
    `remaining` is how many records this pass still has after this page, where the service tells.
    """

    records: Sequence[Record]
    checkpoint: Checkpoint
    fields: Mapping[str, FieldSpec] = field(default_factory=dict)
    deleted_ids: Sequence[str] = ()
    sweep: bool = False
    complete: bool = False
    wait: timedelta | None = None
    remaining: int | None = None


class Connector(Protocol):
    """Reads contacts from one external account."""

    def pages(self, checkpoint: Checkpoint | None) -> AsyncGenerator[Page, None]:
        """Yield what changed since `checkpoint`; everything when it is None (a backfill).

        Raises one of the four ConnectorErrors, never sleeps, never retries.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteAccount:
    """Whose account the credentials open: `identity` is stable and unique at the service, `label` is for people."""

    identity: str
    label: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """One value that a criterion can take in the connected account."""

    value: str
    label: str


class ServiceCategory(StrEnum):
    """Where a service stands in the catalogue."""

    ADDRESS_BOOK = "ADDRESS_BOOK"
    E_COMMERCE = "E_COMMERCE"
    PROJECT_MANAGEMENT = "PROJECT_MANAGEMENT"
    FILE = "FILE"


@dataclass(frozen=True, slots=True, kw_only=True)
class Registration:
    """Our registration as a client at a service: SLUICE_<SERVICE>_CLIENT_ID and _CLIENT_SECRET.

    `client_secret` is empty where the authorization needs none.
    """

    client_id: str
    client_secret: SecretStr


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One attempt to get a user's consent on a page of the service.

    `details`: what the user was asked before, as the authorization's model. `redirect_uri`: where the service sends
    the browser, or posts its answer, with `state`. `verifier`: PKCE's (RFC 7636). `registration`: None where none is
    needed.
    """

    registration: Registration | None
    details: Any
    redirect_uri: str
    state: str = field(repr=False)
    verifier: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Authorization:
    """How users agree on a page of the service, instead of typing credentials.

    `details` draws the form of what has to be known before: a shop's domain. `start` makes the URL to open, and asks
    nobody. `finish` turns what came back (without `state`, which has been checked) into credentials;
    AccessRevokedError where the user declined. `renew` gets fresh credentials before the old ones expire;
    AccessRevokedError where only the user can (`invalid_grant`). `needs_secret`: of the registration, not its id alone.
    `needs_https`: the service answers to no other `redirect_uri`.
    """

    details: type[BaseModel]
    start: Callable[[Attempt], str]
    finish: Callable[[httpx.AsyncClient, Attempt, Mapping[str, str]], Awaitable[BaseModel]]
    renew: Callable[[httpx.AsyncClient, Registration, Any], Awaitable[BaseModel]] | None = None
    needs_registration: bool = True
    needs_secret: bool = True
    needs_https: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """Everything the product needs to know of a service; `connectors.registry` lists them.

    `credentials` is the model of what is stored, its secrets `SecretStr`. `form`: what users can type, whose values are
    valid credentials; None where they cannot. `authorization`: how they agree on a page of the service instead.
    At least one of the two. `form`, `criteria` and the authorization's `details` draw forms by their JSON Schemas.
    `notice` is what a user must know before creating an import: what the service does not give.
    `revoke` gives the credentials back when the external account is disconnected.
    `unstable_ids`: the service re-uses external ids, so records match by address first (R6).
    `tells_deletions`: it reports a deletion as such, apart from a record that left the criteria (R16).
    """

    key: str
    name: str
    category: ServiceCategory
    documentation_url: str
    credentials: type[BaseModel]
    criteria: type[BaseModel]
    fields: Sequence[FieldSpec]
    connect: Callable[[httpx.AsyncClient, Any, Any], Connector]
    identify: Callable[[httpx.AsyncClient, Any], Awaitable[RemoteAccount]]
    choices: Callable[[httpx.AsyncClient, Any, str], Awaitable[Sequence[Choice]]]
    form: type[BaseModel] | None = None
    authorization: Authorization | None = None
    revoke: Callable[[httpx.AsyncClient, Registration | None, Any], Awaitable[None]] | None = None
    notice: str | None = None
    unstable_ids: bool = False
    tells_deletions: bool = False


class ConnectorError(Exception):
    """Base class of every error that a connector raises. The message is shown to users: it holds no secret.

    Whatever a service put into it, it is one printable line: a NUL byte could not even be stored.
    """

    def __init__(self, message: str) -> None:
        super().__init__("".join(letter if letter.isprintable() else " " for letter in message))

    def with_advice(self, advice: str) -> str:
        """The message as a sentence, and behind it what to do."""
        return f"{str(self).rstrip('.')}. {advice}"


class TransientError(ConnectorError):
    """The service is busy or unreachable. `retry_after` is what it asked for, if it did."""

    def __init__(self, message: str, *, retry_after: timedelta | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class AccessRevokedError(ConnectorError):
    """The service no longer accepts this external account's credentials."""


class CheckpointExpiredError(ConnectorError):
    """The service has forgotten this checkpoint."""


class UnexpectedResponseError(ConnectorError):
    """The service answered something that its documentation does not allow."""


def restore(shape: type[Restored], checkpoint: Checkpoint) -> Restored:
    """Read a checkpoint as the model that made it; what another version of the connector left has expired."""
    try:
        return shape.model_validate(checkpoint)
    except ValidationError:
        raise CheckpointExpiredError("the checkpoint is from another version") from None
