"""What the domain needs to know of services while a user waits. A composition root fills the protocol."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Protocol

from domain.errors import ErrorCode, Problem, Refused
from domain.records import FieldSpec


class ServiceAuthorization(StrEnum):
    """A way to connect a service."""

    OAUTH = "OAUTH"
    FORM = "FORM"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceInfo:
    """A service as the catalogue shows it. The schemas are JSON Schema: a page can draw the forms from them.

    `authorizations` are the ways that work on this server, the recommended one first. `credentials_schema` is None
    where nothing can be typed, `authorization_schema` where there is no page of the service to agree on.
    """

    key: str
    name: str
    category: str
    documentation_url: str
    authorization: ServiceAuthorization
    authorizations: Sequence[ServiceAuthorization]
    credentials_schema: Mapping[str, Any] | None
    authorization_schema: Mapping[str, Any] | None
    criteria_schema: Mapping[str, Any]
    fields: Sequence[FieldSpec]
    unstable_ids: bool
    tells_deletions: bool
    notice: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsentAttempt:
    """One attempt to get a user's consent on a page of the service.

    `details`: what the user was asked before, checked. `redirect_uri`: where the service sends the browser, or posts
    its answer, with `state`. `verifier`: PKCE's (RFC 7636).
    """

    service: str
    details: Mapping[str, Any]
    redirect_uri: str
    state: str = field(repr=False)
    verifier: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Renewal:
    """How credentials of one service are renewed.

    `expires_at`: of these credentials; None where they last, or hold nothing to renew them with. `renew` asks the
    service, and raises whatever its connector raises.
    """

    is_renewable: Callable[[Mapping[str, Any]], bool]
    expires_at: Callable[[Mapping[str, Any]], datetime | None]
    renew: Callable[[Mapping[str, Any]], Awaitable[Mapping[str, Any]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteIdentity:
    """Whose account some credentials open at the service."""

    identity: str
    label: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CriterionChoice:
    """One value a criterion can take in a connected account."""

    value: str
    label: str


class Catalogue(Protocol):
    """The services, and the questions that are put to them directly.

    Every method that takes `credentials`, `criteria` or `details` raises Refused, with paths inside that object, where
    they do not fit the service's schema or the service refuses them. Credentials go in and out as they are stored.
    """

    def services(self) -> Sequence[ServiceInfo]:
        """Every service, ordered by name."""

    def check_credentials(self, service: str, credentials: Mapping[str, Any]) -> dict[str, Any]:
        """What a user typed, in the form in which it is stored (encrypted). Refused where nothing can be typed."""

    def check_details(self, service: str, details: Mapping[str, Any]) -> dict[str, Any]:
        """What has to be known before a user is asked on the service's page. Refused where there is no such page."""

    def authorization_url(self, attempt: ConsentAttempt) -> str:
        """The page of the service that the user opens."""

    async def exchange(self, attempt: ConsentAttempt, answer: Mapping[str, str]) -> dict[str, Any]:
        """Turn what came back into credentials. Refused where the user declined, or the service does not accept it."""

    def renewal(self, service: str) -> Renewal | None:
        """How its credentials are renewed; None where they never are."""

    def can_revoke(self, service: str) -> bool:
        """Whether the service has a call to give credentials back."""

    async def revoke(self, service: str, credentials: Mapping[str, Any]) -> None:
        """Give the credentials back, where the service has such a call. Refused where that failed."""

    def check_criteria(self, service: str, criteria: Mapping[str, Any]) -> dict[str, Any]:
        """The criteria in their canonical form, as they are stored."""

    async def identify(self, service: str, credentials: Mapping[str, Any]) -> RemoteIdentity:
        """Ask the service whose account the credentials open."""

    async def choices(self, service: str, credentials: Mapping[str, Any], criterion: str) -> Sequence[CriterionChoice]:
        """Ask the service what a criterion can be in this account."""


def find_service(catalogue: Catalogue, key: str) -> ServiceInfo:
    """The service called `key`; Refused where there is none."""
    for service in catalogue.services():
        if service.key == key:
            return service
    known = ", ".join(service.key for service in catalogue.services())
    raise Refused(Problem(ErrorCode.NOT_FOUND, f"There is no service {key!r}. Services: {known}.", ("service",)))
