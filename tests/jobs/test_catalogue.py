"""Which ways to connect a service there are on this server, and what becomes of what users type."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import httpx
import pytest
from pydantic import BaseModel, ConfigDict, Field, SecretStr

from connectors.base import (
    AccessRevokedError,
    Attempt,
    Authorization,
    ConnectorError,
    Service,
    TransientError,
    UnexpectedResponseError,
)
from connectors.oauth import Tokens
from connectors.registry import SERVICES
from domain.catalogue import ConsentAttempt, ServiceAuthorization, ServiceInfo
from domain.errors import ErrorCode, Refused
from domain.settings import client_registration
from jobs.catalogue import ConnectorCatalogue
from tests.configuration import Configure
from tests.jobs.vendor import VENDOR, register

OAUTH, FORM = ServiceAuthorization.OAUTH, ServiceAuthorization.FORM
NOT_REGISTERED = (
    "This server is not registered at Vendor: its operator must set SLUICE_VENDOR_CLIENT_ID and"
    " SLUICE_VENDOR_CLIENT_SECRET."
)


class Form(BaseModel):
    """A token that users type."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    access_token: SecretStr = Field(min_length=3, title="Token")


class WholeForm(Form):
    """A form with all that can be wrong."""

    access_token: SecretStr = Field(min_length=3, max_length=5, title="Token")
    shop: str = Field("a", min_length=1, max_length=3, title="Shop")
    groups: list[str] = Field([], max_length=1, title="Groups")


class Shop(BaseModel):
    """What has to be known before."""

    shop: str = Field(pattern=r"^[a-z]+$", title="Shop")


def start(attempt: Attempt) -> str:
    if attempt.details.shop == "broken":
        raise UnexpectedResponseError("The shop has no such page.")
    return f"https://{attempt.details.shop}.example/?state={attempt.state}"


async def finish(_: httpx.AsyncClient, attempt: Attempt, answer: Any) -> Tokens:
    raise {"revoked": AccessRevokedError, "busy": TransientError, "odd": UnexpectedResponseError}[answer["as"]]("Said.")


OPEN_PAGE = Authorization(details=Shop, start=start, finish=finish, needs_registration=False)


@pytest.fixture(autouse=True)
def unregistered() -> Iterator[None]:
    client_registration.cache_clear()
    yield
    client_registration.cache_clear()


def catalogue(service: Service) -> ConnectorCatalogue:
    return ConnectorCatalogue(registered={service.key: service}, allow_private_hosts=False)


def info(service: Service) -> ServiceInfo:
    [found] = catalogue(service).services()
    return found


def problem(refused: "pytest.ExceptionInfo[Refused]") -> tuple[ErrorCode, str, tuple[str, ...]]:
    [found] = refused.value.problems
    return found.code, found.message, found.field


@pytest.mark.parametrize(
    ("service", "registered", "best", "ways"),
    [
        (VENDOR, True, OAUTH, (OAUTH,)),
        (VENDOR, False, OAUTH, ()),
        (replace(VENDOR, form=Form), True, OAUTH, (OAUTH, FORM)),
        (replace(VENDOR, form=Form), False, FORM, (FORM,)),
        (replace(VENDOR, authorization=OPEN_PAGE), False, OAUTH, (OAUTH,)),
        (replace(VENDOR, authorization=OPEN_PAGE, form=Form), False, OAUTH, (OAUTH, FORM)),
        (replace(VENDOR, authorization=None, form=Form), False, FORM, (FORM,)),
    ],
)
def test_the_ways_to_connect_are_those_that_work_on_this_server(
    service: Service,
    registered: bool,
    best: ServiceAuthorization,
    ways: tuple[ServiceAuthorization, ...],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if registered:
        register(monkeypatch)

    found = info(service)

    assert (found.authorization, tuple(found.authorizations)) == (best, ways)
    assert (found.credentials_schema is None) == (service.form is None)
    assert (found.authorization_schema is None) == (service.authorization is None)


@pytest.mark.parametrize("missing", ["SLUICE_VENDOR_CLIENT_ID", "SLUICE_VENDOR_CLIENT_SECRET"])
def test_half_a_registration_is_none(monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    register(monkeypatch)
    monkeypatch.delenv(missing)

    assert list(info(VENDOR).authorizations) == []


def test_an_id_alone_is_a_registration_where_the_page_needs_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    service = replace(VENDOR, authorization=replace(OPEN_PAGE, needs_registration=True, needs_secret=False))
    with pytest.raises(Refused) as refused:
        catalogue(service).check_details("vendor", {"shop": "acme"})
    monkeypatch.setenv("SLUICE_VENDOR_CLIENT_ID", "us")
    client_registration.cache_clear()

    assert problem(refused) == (ErrorCode.NOT_CONFIGURED, NOT_REGISTERED.partition(" and ")[0] + ".", ())
    assert catalogue(service).check_details("vendor", {"shop": "acme"}) == {"shop": "acme"}
    assert (SERVICES["trello"].authorization or OPEN_PAGE).needs_secret is False


@pytest.mark.parametrize(
    ("public_url", "ways"),
    [("https://sluice.example", (OAUTH, FORM)), ("http://127.0.0.1:8000", (FORM,)), (None, (FORM,))],
)
def test_a_page_that_answers_to_https_alone_is_offered_where_users_reach_us_so(
    configure: Configure, public_url: str | None, ways: tuple[ServiceAuthorization, ...]
) -> None:
    configure(**({} if public_url is None else {"public_url": public_url}))
    service = replace(VENDOR, authorization=replace(OPEN_PAGE, needs_https=True), form=Form)

    assert tuple(info(service).authorizations) == ways
    if OAUTH in ways:
        assert catalogue(service).check_details("vendor", {"shop": "acme"}) == {"shop": "acme"}
        return
    message = "Vendor answers to https alone: the operator must set SLUICE_PUBLIC_URL to an https address."
    for offered, expected in ((service, f"{message} Or use connectService."), (replace(service, form=None), message)):
        with pytest.raises(Refused) as refused:
            catalogue(offered).check_details("vendor", {"shop": "acme"})
        assert problem(refused) == (ErrorCode.NOT_CONFIGURED, expected, ())


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ({}, (ErrorCode.BLANK, "Required.", ("access_token",))),
        ({"access_token": None}, (ErrorCode.BLANK, "Required.", ("access_token",))),
        ({"access_token": "  "}, (ErrorCode.BLANK, "Required.", ("access_token",))),
        ({"access_token": "s3"}, (ErrorCode.INVALID, "Use at least 3 characters.", ("access_token",))),
        ({"access_token": "s3cret"}, (ErrorCode.TOO_LONG, "Use at most 5 characters.", ("access_token",))),
        ({"access_token": 7}, (ErrorCode.INVALID, "Input should be a valid string.", ("access_token",))),
        ({"access_token": "abc", "shop": ""}, (ErrorCode.BLANK, "Required.", ("shop",))),
        ({"access_token": "abc", "shop": "acme"}, (ErrorCode.TOO_LONG, "Use at most 3 characters.", ("shop",))),
        ({"access_token": "abc", "groups": ["1", "2"]}, (ErrorCode.INVALID, "Choose at most 1.", ("groups",))),
        ({"access_token": "abc", "x": 1}, (ErrorCode.INVALID, "There is no such field: leave it out.", ("x",))),
    ],
)
def test_what_does_not_fit_a_form_is_said_in_our_words(
    typed: dict[str, Any], expected: tuple[ErrorCode, str, tuple[str, ...]]
) -> None:
    with pytest.raises(Refused) as refused:
        catalogue(replace(VENDOR, form=WholeForm)).check_credentials("vendor", typed)

    assert problem(refused) == expected


def test_forms_are_drawn_from_what_users_type_and_what_must_be_known_before() -> None:
    found = info(replace(VENDOR, form=Form, authorization=OPEN_PAGE, notice="It knows no phone numbers."))

    assert found.credentials_schema is not None
    assert found.authorization_schema is not None
    assert list(found.credentials_schema["properties"]) == ["access_token"]
    assert list(found.authorization_schema["properties"]) == ["shop"]
    assert found.notice == "It knows no phone numbers."


def test_what_is_typed_is_stored_as_the_credentials_read_it() -> None:
    service = replace(VENDOR, form=Form)

    assert catalogue(service).check_credentials("vendor", {"access_token": "abc"}) == {
        "access_token": "abc",
        "refresh_token": None,
        "expires_at": None,
    }
    with pytest.raises(Refused) as refused:
        catalogue(service).check_credentials("vendor", {"access_token": "abc", "refresh_token": "r"})
    assert problem(refused)[2] == ("refresh_token",)


def test_a_service_without_a_form_says_how_it_is_connected(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Refused) as unregistered:
        catalogue(VENDOR).check_credentials("vendor", {})
    register(monkeypatch)
    with pytest.raises(Refused) as registered:
        catalogue(VENDOR).check_credentials("vendor", {})

    assert problem(unregistered) == (ErrorCode.NOT_CONFIGURED, NOT_REGISTERED, ())
    assert problem(registered) == (
        ErrorCode.INVALID,
        "Vendor is connected on a page of its own: use startServiceAuthorization.",
        (),
    )


def test_what_must_be_known_before_is_checked_and_needs_a_page() -> None:
    with_page, without = replace(VENDOR, authorization=OPEN_PAGE), replace(VENDOR, authorization=None, form=Form)

    assert catalogue(with_page).check_details("vendor", {"shop": "acme"}) == {"shop": "acme"}
    for service, details, expected in [
        (with_page, {"shop": "A!"}, (ErrorCode.INVALID, "Has another form than expected.", ("shop",))),
        (without, {}, (ErrorCode.INVALID, "Vendor has no page to agree on: use connectService.", ())),
        (VENDOR, {}, (ErrorCode.NOT_CONFIGURED, NOT_REGISTERED, ())),
    ]:
        with pytest.raises(Refused) as refused:
            catalogue(service).check_details("vendor", details)
        assert problem(refused) == expected


def attempt(shop: str) -> ConsentAttempt:
    return ConsentAttempt(
        service="vendor", details={"shop": shop}, redirect_uri="https://sluice.example", state="s", verifier="v"
    )


def test_a_page_that_cannot_be_asked_for_is_a_problem_of_the_details() -> None:
    service = replace(VENDOR, authorization=OPEN_PAGE)

    assert catalogue(service).authorization_url(attempt("acme")) == "https://acme.example/?state=s"
    with pytest.raises(Refused) as refused:
        catalogue(service).authorization_url(attempt("broken"))
    assert problem(refused) == (ErrorCode.INVALID, "The shop has no such page.", ("details",))


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        ("revoked", ErrorCode.CREDENTIALS_REJECTED, "Said. Connect again."),
        ("busy", ErrorCode.SERVICE_UNAVAILABLE, "Said. Try again in a few minutes."),
        ("odd", ErrorCode.INVALID, "Said."),
    ],
)
async def test_each_failure_of_an_exchange_says_what_to_do(error: str, code: ErrorCode, message: str) -> None:
    service = replace(VENDOR, authorization=OPEN_PAGE)

    with pytest.raises(Refused) as refused:
        await catalogue(service).exchange(attempt("acme"), {"as": error})
    assert problem(refused)[:2] == (code, message)


async def test_giving_credentials_back_that_is_broken_is_refused_without_their_text() -> None:
    async def breaks(*_: object) -> None:
        raise KeyError("s3cret")

    async def busy(*_: object) -> None:
        raise ConnectorError("No.")

    for revoke, said in ((breaks, "Vendor did not answer."), (busy, "No.")):
        with pytest.raises(Refused) as refused:
            await catalogue(replace(VENDOR, revoke=revoke)).revoke("vendor", {"access_token": "a"})
        assert problem(refused) == (ErrorCode.SERVICE_UNAVAILABLE, said, ())


@pytest.mark.parametrize(
    "ask",
    [
        lambda gone: gone.check_credentials("gone", {}),
        lambda gone: gone.check_details("gone", {}),
        lambda gone: gone.check_criteria("gone", {}),
        lambda gone: gone.authorization_url(replace(attempt("acme"), service="gone")),
        lambda gone: gone.exchange(replace(attempt("acme"), service="gone"), {}),
        lambda gone: gone.identify("gone", {}),
        lambda gone: gone.choices("gone", {}, "group"),
    ],
    ids=["credentials", "details", "criteria", "page", "exchange", "identity", "choices"],
)
async def test_a_service_that_this_version_does_not_know_any_more_is_not_found(
    ask: Callable[[ConnectorCatalogue], Any],
) -> None:
    async def asking() -> None:
        await ask(catalogue(VENDOR))

    with pytest.raises(Refused) as refused:
        await asking()

    assert problem(refused) == (ErrorCode.NOT_FOUND, "This version of Sluice has no connector for gone.", ())


async def test_credentials_that_another_version_stored_need_a_reconnect_and_are_not_quoted() -> None:
    with pytest.raises(Refused) as refused:
        await catalogue(VENDOR).choices("vendor", {"token": "s3cret"}, "group")

    assert problem(refused) == (
        ErrorCode.NEEDS_RECONNECT,
        "The stored credentials do not fit this version of Sluice. Reconnect the external account.",
        ("externalAccountId",),
    )


def test_what_can_be_given_back_is_known_before() -> None:
    assert catalogue(VENDOR).can_revoke("vendor")
    assert not catalogue(replace(VENDOR, revoke=None)).can_revoke("vendor")
    assert not catalogue(VENDOR).can_revoke("gone")


async def test_what_cannot_be_given_back_is_not() -> None:
    await catalogue(replace(VENDOR, revoke=None)).revoke("vendor", {"access_token": "a"})
    await catalogue(VENDOR).revoke("gone", {"access_token": "a"})
