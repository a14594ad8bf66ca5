"""The way into a service: as what this server is registered there, with credentials that are renewed as they end."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any
from uuid import UUID

import httpx
from pydantic import SecretStr, ValidationError

from connectors.base import (
    AccessRevokedError,
    Checkpoint,
    Connector,
    Page,
    Registration,
    Service,
    TransientError,
    UnexpectedResponseError,
)
from connectors.oauth import Tokens
from domain import database, renewing
from domain.catalogue import Renewal
from domain.settings import client_registration


def registration_of(service: Service) -> Registration | None:
    """As what client this server is registered at the service: SLUICE_<SERVICE>_CLIENT_ID and _CLIENT_SECRET.

    The id alone where the service's page needs no more.
    """
    configured = client_registration(service.key)
    secret = configured.client_secret if _needs_secret(service) else SecretStr("")
    if configured.client_id is None or secret is None:
        return None
    return Registration(client_id=configured.client_id, client_secret=secret)


def _needs_secret(service: Service) -> bool:
    return service.authorization is None or service.authorization.needs_secret


def not_registered(service: Service) -> str:
    """What to do about a registration that is missing."""
    prefix = f"SLUICE_{service.key.upper()}"
    missing = f"{prefix}_CLIENT_ID" + (f" and {prefix}_CLIENT_SECRET" if _needs_secret(service) else "")
    return f"This server is not registered at {service.name}: its operator must set {missing}."


def revealed(credentials: Any) -> dict[str, Any]:
    """Credentials as they are stored, secrets in the clear: they are encrypted next."""
    return {
        name: value.get_secret_value() if isinstance(value, SecretStr) else value
        for name, value in credentials.model_dump(mode="python").items()
    }


def is_renewable(service: Service, credentials: Mapping[str, Any]) -> bool:
    """Whether these credentials hold what new ones are got with."""
    return _tokens(service, credentials) is not None


def expires_at(service: Service, credentials: Mapping[str, Any]) -> datetime | None:
    """When they end; None for never, or where they cannot be renewed."""
    tokens = _tokens(service, credentials)
    return tokens.expires_at if tokens is not None else None


def _tokens(service: Service, credentials: Mapping[str, Any]) -> Tokens | None:
    try:
        read = service.credentials.model_validate(credentials)
    except ValidationError:
        return None
    return read if isinstance(read, Tokens) and read.refresh_token is not None else None


async def renewed(service: Service, client: httpx.AsyncClient, credentials: Mapping[str, Any]) -> dict[str, Any]:
    """New credentials for old ones. Raises a ConnectorError."""
    registration, authorization = registration_of(service), service.authorization
    if registration is None or authorization is None or authorization.renew is None:
        raise UnexpectedResponseError(not_registered(service))
    try:
        async with asyncio.timeout(renewing.LONGEST_RENEWAL.total_seconds()):
            fresh = await authorization.renew(client, registration, service.credentials.model_validate(credentials))
    except TimeoutError:
        seconds = renewing.LONGEST_RENEWAL.total_seconds()
        raise TransientError(f"{service.name} took longer than {seconds:.0f} seconds to renew the access.") from None
    return revealed(fresh)


@dataclass(slots=True, kw_only=True)
class Access:
    """What the imports of one external account are read with in one job. Refused credentials are renewed once in it."""

    service: Service
    client: httpx.AsyncClient
    account_id: UUID
    external_account_id: UUID
    credentials: Mapping[str, Any] = field(repr=False)
    is_fresh: bool = False
    is_renewed: bool = False
    # Imports read ahead of each other: one renews, the others wait for what it gets.
    renewing: asyncio.Lock = field(default_factory=asyncio.Lock, repr=False)


def open_connector(access: Access, criteria: Mapping[str, Any]) -> Connector:
    """The connector of one import. ValueError where credentials or criteria do not fit the service's models."""
    service = access.service
    checked = service.criteria.model_validate(criteria)

    def connect(credentials: Mapping[str, Any]) -> Connector:
        return service.connect(access.client, service.credentials.model_validate(credentials), checked)

    connector = connect(access.credentials)
    return Renewing(access=access, connect=connect) if is_renewable(service, access.credentials) else connector


@dataclass(frozen=True, slots=True, kw_only=True)
class Renewing:
    """A connector that reads on with renewed credentials where the service refuses the old ones."""

    access: Access
    connect: Callable[[Mapping[str, Any]], Connector]

    async def pages(self, checkpoint: Checkpoint | None) -> AsyncGenerator[Page, None]:
        """The pages, each connector's from the checkpoint of the last page on. Raises also what renewing raises."""
        credentials = await _fresh(self.access)
        while True:
            try:
                async with aclosing(self.connect(credentials).pages(checkpoint)) as pages:
                    async for page in pages:
                        checkpoint = page.checkpoint
                        yield page
                return
            except AccessRevokedError:
                others = await _others_than(self.access, credentials)
                if others is None:
                    raise
                credentials = others


async def _fresh(access: Access) -> Mapping[str, Any]:
    """Credentials that do not end in the next minutes."""
    async with access.renewing:
        if not access.is_fresh:
            access.credentials = await _usable(access, refused=None)
            access.is_fresh = True
        return access.credentials


async def _others_than(access: Access, refused: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """What to try instead of credentials that the service refused; None where that was tried."""
    async with access.renewing:
        if access.credentials != refused:
            # Another import met the refusal first.
            return access.credentials
        if access.is_renewed:
            return None
        access.credentials = await _usable(access, refused=refused)
        access.is_renewed = True
        return access.credentials


async def _usable(access: Access, *, refused: Mapping[str, Any] | None) -> Mapping[str, Any]:
    renewal = Renewal(
        is_renewable=partial(is_renewable, access.service),
        expires_at=partial(expires_at, access.service),
        renew=partial(renewed, access.service, access.client),
    )
    try:
        found = await renewing.usable(access.account_id, access.external_account_id, renewal, refused=refused)
    except database.UNAVAILABLE as error:
        # Whoever reads pages takes every other error for the service's.
        raise TransientError("The database cannot be reached.") from error
    if found is None:
        raise AccessRevokedError("The external account was disconnected.")
    return found
