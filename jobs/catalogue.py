"""The domain's catalogue, over the connectors that we ship."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from pydantic import BaseModel, SecretStr, ValidationError

from connectors.base import AccessRevokedError, ConnectorError, Service, TransientError
from connectors.http import open_client
from domain.catalogue import CriterionChoice, RemoteIdentity, ServiceInfo
from domain.errors import ErrorCode, Problem, Refused


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectorCatalogue:
    """Answers for every service in `registered`."""

    registered: Mapping[str, Service]
    allow_private_hosts: bool
    origins: Mapping[str, str] = field(default_factory=dict)

    def services(self) -> Sequence[ServiceInfo]:
        """Every service, ordered by name."""
        return [_info(service) for service in sorted(self.registered.values(), key=lambda service: service.name)]

    def check_credentials(self, service: str, credentials: Mapping[str, Any]) -> dict[str, Any]:
        """The credentials as the service's model reads them, secrets in the clear: they are encrypted next."""
        return _revealed(_validated(self.registered[service].credentials, credentials))

    def check_criteria(self, service: str, criteria: Mapping[str, Any]) -> dict[str, Any]:
        """The criteria as the service's model reads them."""
        checked = _validated(self.registered[service].criteria, criteria)
        if "\\u0000" in checked.model_dump_json():
            raise Refused(Problem(ErrorCode.INVALID, "Remove the NUL character from the criteria."))
        return checked.model_dump(mode="json")

    async def identify(self, service: str, credentials: Mapping[str, Any]) -> RemoteIdentity:
        """Ask the service whose account the credentials open."""
        declared = self.registered[service]
        async with open_client(allow_private_hosts=self.allow_private_hosts, origins=self.origins) as client:
            try:
                remote = await declared.identify(client, declared.credentials.model_validate(credentials))
            except ConnectorError as error:
                raise _refusal(error) from error
        return RemoteIdentity(identity=remote.identity, label=remote.label)

    async def choices(self, service: str, credentials: Mapping[str, Any], criterion: str) -> Sequence[CriterionChoice]:
        """Ask the service what a criterion can be in this account."""
        declared = self.registered[service]
        if criterion not in declared.criteria.model_fields:
            known = ", ".join(declared.criteria.model_fields) or "none"
            message = f"{declared.name} has no criterion {criterion!r}. Criteria: {known}."
            raise Refused(Problem(ErrorCode.NOT_FOUND, message, ("criterion",)))
        async with open_client(allow_private_hosts=self.allow_private_hosts, origins=self.origins) as client:
            try:
                found = await declared.choices(client, declared.credentials.model_validate(credentials), criterion)
            except ConnectorError as error:
                raise _refusal(error) from error
        return [CriterionChoice(value=choice.value, label=choice.label) for choice in found]


@cache
def _info(service: Service) -> ServiceInfo:
    return ServiceInfo(
        key=service.key,
        name=service.name,
        category=service.category,
        documentation_url=service.documentation_url,
        authorization="FORM" if service.authorization is None else "OAUTH",
        credentials_schema=service.form.model_json_schema() if service.form is not None else {},
        criteria_schema=service.criteria.model_json_schema(),
        fields=service.fields,
        unstable_ids=service.unstable_ids,
        tells_deletions=service.tells_deletions,
    )


def _validated(model: type[BaseModel], values: Mapping[str, Any]) -> BaseModel:
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise Refused(
            *(
                # pydantic's own text quotes the input only in `input`, which stays here: it may be a secret.
                Problem(
                    ErrorCode.INVALID,
                    f"{detail['msg'].removeprefix('Value error, ').rstrip('.')}.",
                    tuple(str(part) for part in detail["loc"]),
                )
                for detail in error.errors(include_input=False, include_url=False)
            )
        ) from None


def _revealed(model: BaseModel) -> dict[str, Any]:
    return {
        name: value.get_secret_value() if isinstance(value, SecretStr) else value
        for name, value in model.model_dump().items()
    }


def _refusal(error: ConnectorError) -> Refused:
    match error:
        case AccessRevokedError():
            code, advice = ErrorCode.CREDENTIALS_REJECTED, "Check the credentials."
        case TransientError():
            code, advice = ErrorCode.SERVICE_UNAVAILABLE, "Try again in a few minutes."
        case _:
            code, advice = ErrorCode.INVALID, "Check the address and the credentials."
    return Refused(Problem(code, f"{error} {advice}", ("credentials",)))
