"""The domain's catalogue, over the connectors that we ship."""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Any

import httpx
import structlog
from pydantic import BaseModel, ValidationError

from connectors.base import (
    AccessRevokedError,
    Attempt,
    Authorization,
    ConnectorError,
    Service,
    TransientError,
)
from connectors.http_client import elsewhere, open_client
from domain import renewing
from domain.catalogue import (
    ConsentAttempt,
    CriterionChoice,
    RemoteIdentity,
    Renewal,
    ServiceAuthorization,
    ServiceInfo,
)
from domain.errors import ErrorCode, Problem, Refused
from domain.logs import trace
from domain.settings import settings
from jobs.access import expires_at, is_renewable, not_registered, registration_of, renewed, revealed
from jobs.typed import validated

log = structlog.get_logger()

REVOKING_SECONDS = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectorCatalogue:
    """Answers for every service in `registered`."""

    registered: Mapping[str, Service]
    allow_private_hosts: bool
    origins: Mapping[str, str] = field(default_factory=dict)

    def services(self) -> Sequence[ServiceInfo]:
        """Every service, ordered by name."""
        return [
            _info(service, *_ways(service))
            for service in sorted(self.registered.values(), key=lambda service: service.name)
        ]

    def check_credentials(self, service: str, credentials: Mapping[str, Any]) -> dict[str, Any]:
        """What was typed into the service's form, as its credentials read it."""
        declared = self._declared(service)
        if declared.form is None:
            if (missing := _missing(declared, _authorization(declared))) is not None:
                raise Refused(Problem(ErrorCode.NOT_CONFIGURED, missing))
            message = f"{declared.name} is connected on a page of its own: use startServiceAuthorization."
            raise Refused(Problem(ErrorCode.INVALID, message))
        typed = revealed(validated(declared.form, credentials))
        return revealed(validated(declared.credentials, typed))

    def check_details(self, service: str, details: Mapping[str, Any]) -> dict[str, Any]:
        """What has to be known before the service's page, as its model reads it."""
        declared = self._declared(service)
        if declared.authorization is None:
            message = f"{declared.name} has no page to agree on: use connectService."
            raise Refused(Problem(ErrorCode.INVALID, message))
        if (missing := _missing(declared, declared.authorization)) is not None:
            raise Refused(Problem(ErrorCode.NOT_CONFIGURED, missing))
        return revealed(validated(declared.authorization.details, details))

    def authorization_url(self, attempt: ConsentAttempt) -> str:
        """The page of the service that the user opens."""
        declared = self._declared(attempt.service)
        authorization = _authorization(declared)
        try:
            url = authorization.start(_attempt(declared, authorization, attempt))
        except ConnectorError as error:
            raise Refused(Problem(ErrorCode.INVALID, str(error), ("details",))) from error
        return str(elsewhere(httpx.URL(url), self.origins)) if self.origins else url

    async def exchange(self, attempt: ConsentAttempt, answer: Mapping[str, str]) -> dict[str, Any]:
        """Turn what came back into credentials."""
        declared = self._declared(attempt.service)
        authorization = _authorization(declared)
        async with self._client() as client:
            try:
                given = await authorization.finish(client, _attempt(declared, authorization, attempt), answer)
            except ConnectorError as error:
                raise _refusal(error, revoked="Connect again.", otherwise="") from error
        return revealed(given)

    def renewal(self, service: str) -> Renewal | None:
        """How its credentials are renewed; None where they never are."""
        declared = self.registered.get(service)
        if declared is None or declared.authorization is None or declared.authorization.renew is None:
            return None

        async def renew(credentials: Mapping[str, Any]) -> Mapping[str, Any]:
            async with self._client() as client:
                try:
                    return await renewed(declared, client, credentials)
                except ConnectorError as error:
                    raise _refusal(error, revoked="Reconnect the external account.", otherwise="") from error

        return Renewal(
            is_renewable=partial(is_renewable, declared), expires_at=partial(expires_at, declared), renew=renew
        )

    def can_revoke(self, service: str) -> bool:
        """Whether the service has a call to give credentials back."""
        declared = self.registered.get(service)
        return declared is not None and declared.revoke is not None

    async def revoke(self, service: str, credentials: Mapping[str, Any]) -> None:
        """Give the credentials back, where the service has such a call."""
        declared = self.registered.get(service)
        if declared is None or declared.revoke is None:
            return
        try:
            async with asyncio.timeout(REVOKING_SECONDS), self._client() as client:
                if renewing.ends_soon(expires_at(declared, credentials)):
                    # A service that refuses what has ended says nothing of what the user agreed to. Some take back
                    # what cannot be renewed all the same.
                    with suppress(ConnectorError):
                        credentials = await renewed(declared, client, credentials)
                await declared.revoke(
                    client, registration_of(declared), declared.credentials.model_validate(credentials)
                )
        except ConnectorError as error:
            raise Refused(Problem(ErrorCode.SERVICE_UNAVAILABLE, str(error))) from error
        except Exception as error:  # noqa: BLE001
            # They are erased here: a connector's bug, or credentials of an older version, must not say otherwise.
            log.warning("catalogue.revoke_failed", service=service, **trace(error))
            raise Refused(Problem(ErrorCode.SERVICE_UNAVAILABLE, f"{declared.name} did not answer.")) from None

    def check_criteria(self, service: str, criteria: Mapping[str, Any]) -> dict[str, Any]:
        """The criteria as the service's model reads them."""
        checked = validated(self._declared(service).criteria, criteria)
        if "\\u0000" in checked.model_dump_json():
            raise Refused(Problem(ErrorCode.INVALID, "Remove the NUL character from the criteria."))
        return checked.model_dump(mode="json")

    async def identify(self, service: str, credentials: Mapping[str, Any]) -> RemoteIdentity:
        """Ask the service whose account the credentials open."""
        declared = self._declared(service)
        async with self._client() as client:
            try:
                remote = await declared.identify(client, declared.credentials.model_validate(credentials))
            except ConnectorError as error:
                raise _refusal(error) from error
        return RemoteIdentity(identity=remote.identity, label=remote.label)

    async def choices(self, service: str, credentials: Mapping[str, Any], criterion: str) -> Sequence[CriterionChoice]:
        """Ask the service what a criterion can be in this account."""
        declared = self._declared(service)
        if criterion not in declared.criteria.model_fields:
            known = ", ".join(declared.criteria.model_fields) or "none"
            message = f"{declared.name} has no criterion {criterion!r}. Criteria: {known}."
            raise Refused(Problem(ErrorCode.NOT_FOUND, message, ("criterion",)))
        async with self._client() as client:
            try:
                found = await declared.choices(client, _stored(declared, credentials), criterion)
            except ConnectorError as error:
                raise _refusal(error) from error
        return [CriterionChoice(value=choice.value, label=choice.label) for choice in found]

    def _declared(self, service: str) -> Service:
        declared = self.registered.get(service)
        if declared is None:
            raise Refused(Problem(ErrorCode.NOT_FOUND, f"This version of Sluice has no connector for {service}."))
        return declared

    def _client(self) -> httpx.AsyncClient:
        return open_client(allow_private_hosts=self.allow_private_hosts, origins=self.origins)


def _ways(service: Service) -> Sequence[ServiceAuthorization]:
    """The ways to connect that work on this server, the recommended one first."""
    authorization, ways = service.authorization, []
    if authorization is not None and _missing(service, authorization) is None:
        ways.append(ServiceAuthorization.OAUTH)
    if service.form is not None:
        ways.append(ServiceAuthorization.FORM)
    return ways


def _missing(service: Service, authorization: Authorization) -> str | None:
    """What the operator must do before the service's page can be used; None for nothing."""
    if authorization.needs_registration and registration_of(service) is None:
        return not_registered(service)
    if authorization.needs_https and not (settings().public_url or "").startswith("https://"):
        instead = "" if service.form is None else " Or use connectService."
        message = f"{service.name} answers to https alone: the operator must set SLUICE_PUBLIC_URL to an https address."
        return message + instead
    return None


def _stored(service: Service, credentials: Mapping[str, Any]) -> BaseModel:
    try:
        return service.credentials.model_validate(credentials)
    except ValidationError:
        # Not its text: that can quote the credentials.
        message = "The stored credentials do not fit this version of Sluice. Reconnect the external account."
        raise Refused(Problem(ErrorCode.NEEDS_RECONNECT, message, ("externalAccountId",))) from None


def _authorization(service: Service) -> Authorization:
    if service.authorization is None:
        raise Refused(Problem(ErrorCode.INVALID, f"{service.name} has no page to agree on any more."))
    return service.authorization


def _attempt(service: Service, authorization: Authorization, attempt: ConsentAttempt) -> Attempt:
    registration = registration_of(service)
    if registration is None and authorization.needs_registration:
        raise Refused(Problem(ErrorCode.NOT_CONFIGURED, not_registered(service)))
    return Attempt(
        registration=registration,
        details=authorization.details.model_validate(attempt.details),
        redirect_uri=attempt.redirect_uri,
        state=attempt.state,
        verifier=attempt.verifier,
    )


@cache
def _info(service: Service, *ways: ServiceAuthorization) -> ServiceInfo:
    details = service.authorization.details if service.authorization is not None else None
    return ServiceInfo(
        key=service.key,
        name=service.name,
        category=service.category,
        documentation_url=service.documentation_url,
        # Without any it is what the operator would have to set up.
        authorization=ways[0] if ways else ServiceAuthorization.OAUTH,
        authorizations=ways,
        credentials_schema=service.form.model_json_schema() if service.form is not None else None,
        authorization_schema=details.model_json_schema() if details is not None else None,
        criteria_schema=service.criteria.model_json_schema(),
        fields=service.fields,
        unstable_ids=service.unstable_ids,
        tells_deletions=service.tells_deletions,
        notice=service.notice,
    )


def _refusal(
    error: ConnectorError,
    *,
    revoked: str = "Check the credentials.",
    otherwise: str = "Check the address and the credentials.",
) -> Refused:
    match error:
        case AccessRevokedError():
            code, advice = ErrorCode.CREDENTIALS_REJECTED, revoked
        case TransientError():
            code, advice = ErrorCode.SERVICE_UNAVAILABLE, "Try again in a few minutes."
        case _:
            code, advice = ErrorCode.INVALID, otherwise
    return Refused(Problem(code, error.with_advice(advice) if advice else str(error), ("credentials",)))
