"""What every service promises of how it is described, connected and chosen from."""

import json

import httpx
import pytest
from pydantic import SecretStr

from connectors.base import AccessRevokedError, Attempt, Registration
from connectors.registry import SERVICES
from tests.connectors.reading import credentials_of, each_service, read, sent_secrets, service_of, simulated
from tests.connectors.simulators.kit import CLIENT_ID, CLIENT_SECRET, open_simulated

PEOPLE = 23
WITH_CODE_FLOW = [
    key
    for key, service in SERVICES.items()
    if service.authorization is not None and service.authorization.needs_registration
]
"""Services that send an answer back with the user's browser."""


@each_service
def test_the_forms_have_titles_and_every_secret_is_hidden(key: str) -> None:
    service, simulator = SERVICES[key], simulated(key, 0)
    details = service.authorization.details if service.authorization is not None else None
    for form in (service.form, service.criteria, details):
        for name, field in form.model_json_schema().get("properties", {}).items() if form is not None else ():
            assert field["title"] != name, f"{name} has no title for people"

    hidden = [value.get_secret_value() for _, value in credentials_of(simulator) if isinstance(value, SecretStr)]
    assert sorted(filter(None, hidden)) == sorted(sent_secrets(simulator)) != []


@each_service
async def test_it_offers_choices_that_its_criteria_accept(key: str) -> None:
    service, simulator = SERVICES[key], simulated(key, PEOPLE)
    client, schema = open_simulated(simulator), SERVICES[key].criteria.model_json_schema()
    for criterion in service.criteria.model_fields:
        is_list = "array" in json.dumps(schema["properties"][criterion])
        for choice in await service.choices(client, credentials_of(simulator), criterion):
            assert choice.label
            value = [choice.value] if is_list else choice.value
            chosen = service.criteria.model_validate({**simulator.criteria, criterion: value})
            assert chosen.model_dump(mode="json")[criterion] == value


@each_service
async def test_the_same_login_has_the_same_identity(key: str) -> None:
    one, other = simulated(key, 1), simulated(key, 2)

    found = [await service_of(each).identify(open_simulated(each), credentials_of(each)) for each in (one, other)]

    assert found[0] == found[1]
    assert found[0].identity
    assert found[0].label


@pytest.mark.parametrize("key", WITH_CODE_FLOW)
async def test_agreeing_on_a_page_of_the_service_lets_in(key: str) -> None:
    simulator = simulated(key, 1)
    service, client = service_of(simulator), open_simulated(simulator)
    authorization = service.authorization
    assert authorization is not None
    known = {name: value for name, value in simulator.credentials.items() if name in authorization.details.model_fields}
    attempt = Attempt(
        registration=Registration(client_id=CLIENT_ID, client_secret=SecretStr(CLIENT_SECRET)),
        details=authorization.details.model_validate(known),
        redirect_uri="https://sluice.example.com/oauth/callback",
        state="the-state",
        verifier="v" * 43,
    )

    page = await client.get(authorization.start(attempt))
    back = httpx.URL(page.headers["Location"])
    # Trello answers behind the #.
    answer = {**back.params, **httpx.QueryParams(back.fragment)}
    address = str(back.copy_with(query=None, fragment=None))
    assert (address, answer.pop("state")) == (attempt.redirect_uri, attempt.state)
    credentials = await authorization.finish(client, attempt, answer)

    assert await service.identify(client, credentials) == await service.identify(client, credentials_of(simulator))


@each_service
async def test_a_login_that_is_no_longer_accepted_asks_for_another(key: str) -> None:
    simulator = simulated(key, 1)
    simulator.revoke()

    with pytest.raises(AccessRevokedError):
        await read(simulator)
    with pytest.raises(AccessRevokedError):
        await service_of(simulator).identify(open_simulated(simulator), credentials_of(simulator))


@each_service
def test_a_service_is_described(key: str) -> None:
    service = SERVICES[key]

    assert service.key == key
    assert service.documentation_url.startswith("https://")
    assert len({field.key for field in service.fields}) == len(service.fields)
    assert service.form is not None or service.authorization is not None


@each_service
def test_what_a_user_enters_is_checked_strictly_and_never_repeated(key: str) -> None:
    service = SERVICES[key]

    for model in (service.credentials, service.form or service.credentials):
        assert model.model_config.get("hide_input_in_errors") is True
        assert model.model_config.get("extra") == "forbid"
    # Nobody's megabyte is kept as a password.
    for name, field in (service.form.model_json_schema()["properties"] if service.form is not None else {}).items():
        assert "maxLength" in json.dumps(field), name
    # A criterion that is not understood must not import everything (R2).
    assert service.criteria.model_config.get("extra") == "forbid"
