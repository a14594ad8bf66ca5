"""What the domain needs to know of services while a user waits. A composition root fills the protocol."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from domain.errors import ErrorCode, Problem, Refused
from domain.records import FieldSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceInfo:
    """A service as the catalogue shows it. The schemas are JSON Schema: a page can draw the forms from them."""

    key: str
    name: str
    category: str
    documentation_url: str
    authorization: str
    credentials_schema: Mapping[str, Any]
    criteria_schema: Mapping[str, Any]
    fields: Sequence[FieldSpec]
    unstable_ids: bool
    tells_deletions: bool


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

    Every method that takes `credentials` or `criteria` raises Refused, with paths inside that object, where they do
    not fit the service's schema or the service refuses them.
    """

    def services(self) -> Sequence[ServiceInfo]:
        """Every service, ordered by name."""

    def check_credentials(self, service: str, credentials: Mapping[str, Any]) -> dict[str, Any]:
        """The credentials in their canonical form, as they are stored (encrypted)."""

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
