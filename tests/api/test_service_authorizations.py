"""Connecting a service by consent on a page of it: what starts it, what comes back, and what then stands where."""

import asyncio
import logging
import os
import re
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import httpx
import pytest
import uvicorn
from starlette.applications import Starlette

from api.app import create_app
from api.node import global_id
from domain import database, retention, service_authorizations
from domain.credentials import key_ring, new_key, unseal_json
from domain.enums import ExternalAccountHealth
from domain.models import Account, ApiToken, AuditEntry, ExternalAccount, ServiceAuthorizationAttempt
from domain.settings import client_registration, settings
from tests.api import returning
from tests.api.conftest import Client, make_client
from tests.api.live import bind
from tests.configuration import Configure
from tests.factories import make_external_account, rows_of
from tests.fakes import DeafWatch, FakeCatalogue, RecordingEvents, RecordingQueue
from tests.jobs.vendor import register, vendor_stage

PUBLIC = "https://sluice.example"
START = """mutation ($input: StartServiceAuthorizationInput!) { startServiceAuthorization(input: $input) {
    authorizationUrl serviceAuthorization { id state expiresAt externalAccount { id } userErrors { code } }
    userErrors { code field message } } }"""
LOOK = """query ($id: ID!) { serviceAuthorization(id: $id) {
    state externalAccount { label health } userErrors { code field message } } }"""


@pytest.fixture(autouse=True)
def public_url(configure: Configure) -> None:
    configure(public_url=PUBLIC, cors_origins="https://app.example,https://other.example")


async def start(client: Client, **values: Any) -> Any:
    answer = await client.data(START, input={"service": "sample", **values})
    return answer["startServiceAuthorization"]


async def started(client: Client, catalogue: FakeCatalogue, **values: Any) -> tuple[str, str]:
    """The attempt's id and its state parameter."""
    payload = await start(client, **values)
    assert payload["userErrors"] == []
    return payload["serviceAuthorization"]["id"], catalogue.attempts[-1].state


async def arrive(client: Client, **answer: str) -> httpx.Response:
    """The user's browser, sent back by the service: it has no token."""
    return await client.http.get("/oauth/callback", params=answer)


async def come_back(client: Client, **answer: str) -> httpx.Response:
    """The same, and the user goes on where they are asked."""
    return await returning.come_back(client.http, httpx.URL("/oauth/callback", params=answer))


async def look(client: Client, attempt_id: str) -> Any:
    return (await client.data(LOOK, id=attempt_id))["serviceAuthorization"]


def told(page: httpx.Response) -> tuple[int, str, list[str]]:
    """Status, heading and paragraphs of a page."""
    [heading] = re.findall(r"<h1>(.*)</h1>", page.text)
    return page.status_code, heading, re.findall(r"<p>(.*)</p>", page.text)


CONNECTED = (200, "Sample is connected", ["shop-1.example.com is connected.", "You can close this window."])
UNKNOWN = (
    404,
    "Nothing was connected",
    ["This answer belongs to no attempt of ours, or to one long over.", "Close this window and connect again."],
)
LATE = (
    410,
    "Sample was not connected",
    ["This took longer than ten minutes.", "Close this window and connect again."],
)


async def test_a_user_is_sent_to_the_services_page_and_comes_back_connected(
    client: Client, catalogue: FakeCatalogue
) -> None:
    payload = await start(client, details={"shop": "acme"})
    [attempt] = catalogue.attempts
    pending = payload["serviceAuthorization"]
    lives = datetime.fromisoformat(pending.pop("expiresAt")) - datetime.now(UTC)
    page = await come_back(client, code="good", state=attempt.state, scope="read")

    stored = await ExternalAccount.get(account_id=client.account_id)
    assert payload["authorizationUrl"] == f"https://sample.example/authorize?state={attempt.state}"
    assert pending == {"id": pending["id"], "state": "PENDING", "externalAccount": None, "userErrors": []}
    assert timedelta(minutes=9) < lives <= timedelta(minutes=10)
    assert (attempt.details, attempt.redirect_uri) == ({"shop": "acme"}, f"{PUBLIC}/oauth/callback")
    assert told(page) == CONNECTED
    assert catalogue.attempts == [attempt, attempt]
    assert catalogue.answers == [{"code": "good", "scope": "read"}]
    assert unseal_json(stored.credentials or b"", row=stored.id) == {"token": "good"}
    assert await look(client, pending["id"]) == {
        "state": "COMPLETED",
        "externalAccount": {"label": "shop-1.example.com", "health": "HEALTHY"},
        "userErrors": [],
    }


async def test_what_was_connected_is_recorded_as_done_by_the_token_that_began_it(
    client: Client, catalogue: FakeCatalogue
) -> None:
    _, state = await started(client, catalogue)
    await come_back(client, code="good", state=state)

    entry = await AuditEntry.get(account_id=client.account_id)
    token = await ApiToken.get(account_id=client.account_id)
    assert (entry.action, entry.actor_id) == ("EXTERNAL_ACCOUNT_CONNECTED", token.id)


async def test_an_attempt_keeps_no_secret_in_the_clear_and_none_once_it_is_used(
    client: Client, catalogue: FakeCatalogue
) -> None:
    _, state = await started(client, catalogue, details={"shop": "acme-shop"})
    before = repr((await rows_of(client.account_id))["service_authorization"])
    await come_back(client, code="good", state=state)
    after = repr((await rows_of(client.account_id))["service_authorization"])

    assert "acme-shop" not in before
    assert catalogue.attempts[0].verifier not in before
    assert (await ServiceAuthorizationAttempt.get(account_id=client.account_id)).secret is None
    assert "good" not in after


QUESTION = (
    200,
    "Connect Sample?",
    ["Its contacts will be read for the account Acme. Go on only if you have just asked for that yourself."],
)


async def test_nothing_is_connected_before_the_user_saw_to_which_account_and_went_on(
    client: Client, catalogue: FakeCatalogue
) -> None:
    await Account.filter(id=client.account_id).update(name="Acme")
    attempt_id, state = await started(client, catalogue)

    pages = [await arrive(client, code="good", state=state, scope='"a" & <b>') for _ in range(2)]
    still = await look(client, attempt_id)
    nothing = (list(catalogue.answers), await ExternalAccount.all().count())
    connected = await client.http.post("/oauth/callback", data=returning.asked(pages[0]))

    assert [told(page) for page in pages] == [QUESTION, QUESTION]
    assert returning.asked(pages[0]) == {"code": "good", "state": state, "scope": '"a" & <b>'}
    assert (still["state"], nothing) == ("PENDING", ([], 0))
    assert told(connected) == CONNECTED
    assert catalogue.answers == [{"code": "good", "scope": '"a" & <b>'}]


async def test_a_refusal_needs_no_button_and_brings_nothing_else_along(
    client: Client, catalogue: FakeCatalogue
) -> None:
    attempt_id, state = await started(client, catalogue)

    page = await arrive(client, error="access_denied", code="good", token="good", state=state)

    assert (page.status_code, returning.asked(page)) == (400, None)
    assert catalogue.answers == [{"error": "access_denied"}]
    assert (await look(client, attempt_id))["state"] == "FAILED"


async def test_what_came_back_leaves_the_address_before_anything_else_runs(
    client: Client, catalogue: FakeCatalogue
) -> None:
    _, first = await started(client, catalogue)
    _, second = await started(client, catalogue)
    _, third = await started(client, catalogue)

    pages = [
        await arrive(client, code="good", state=first),
        await come_back(client, code="good", state=first),
        await arrive(client, error="access_denied", state=second),
        await arrive(client, state=third),
        await arrive(client, success="1", user_id=third),
        await arrive(client, code="good", state="x"),
    ]

    begins = 'const came = location.href;\nhistory.replaceState(null, "", location.pathname);\n'
    scripts = [re.findall(r'<script nonce="[^"]+">\s*(.*?)</script>', page.text, re.DOTALL) for page in pages]
    assert [(len(found), found[0].startswith(begins)) for found in scripts] == [(1, True)] * 6


async def test_pages_say_all_they_need_themselves_and_are_kept_by_nobody(
    client: Client, catalogue: FakeCatalogue
) -> None:
    attempt_id, state = await started(client, catalogue)
    question = await arrive(client, code="good", state=state)
    page = await come_back(client, code="good", state=state)

    assert (question.headers["Cache-Control"], question.headers["Referrer-Policy"]) == ("no-store", "no-referrer")
    assert "frame-ancestors 'none'" in question.headers["Content-Security-Policy"]
    [nonce] = set(re.findall(r'nonce="([^"]+)"', page.text))
    policy = page.headers["Content-Security-Policy"]
    assert policy == (
        f"default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; form-action 'self';"
        " base-uri 'none'; frame-ancestors 'none'"
    )
    assert {name: page.headers[name] for name in ("Cache-Control", "Referrer-Policy", "X-Content-Type-Options")} == {
        "Cache-Control": "no-store",
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
    }
    assert re.findall(r"(?:src|href)=", page.text) == []
    assert (
        'const told = {"message":{"source":"sluice","type":"service-authorization",'
        f'"id":"{attempt_id}","state":"COMPLETED"}},"origins":["https://app.example","https://other.example"]}};'
    ) in page.text


async def test_no_page_of_anybody_is_told_where_every_origin_may_call(
    client: Client, catalogue: FakeCatalogue, configure: Configure
) -> None:
    configure(cors_origins="*", public_url=PUBLIC)
    _, state = await started(client, catalogue)

    assert '"origins":[]}' in (await come_back(client, code="good", state=state)).text


async def test_what_others_wrote_is_shown_as_text(client: Client, catalogue: FakeCatalogue) -> None:
    catalogue.identity = "<script>alert(1)</script>"
    _, state = await started(client, catalogue)
    page = await come_back(client, code="good", state=state)

    assert told(page)[2][0] == "&lt;script&gt;alert(1)&lt;/script&gt;.example.com is connected."
    assert "<script>alert" not in page.text


async def test_an_answer_is_taken_once_however_often_it_comes(client: Client, catalogue: FakeCatalogue) -> None:
    _, state = await started(client, catalogue)

    together = await asyncio.gather(*(come_back(client, code="good", state=state) for _ in range(5)))
    again = await come_back(client, code="another", state=state)

    assert catalogue.answers == [{"code": "good"}]
    assert told(again) == CONNECTED
    under_way = (202, "Connecting Sample", ["This takes a moment."])
    assert CONNECTED in [told(page) for page in together]
    assert [page for page in together if told(page) not in (CONNECTED, under_way)] == []
    assert await ExternalAccount.filter(account_id=client.account_id).count() == 1


async def test_a_refused_answer_stays_refused(client: Client, catalogue: FakeCatalogue) -> None:
    attempt_id, state = await started(client, catalogue)
    declined = await come_back(client, error="access_denied", state=state)
    again = await come_back(client, code="good", state=state)

    assert told(declined) == told(again)
    assert told(declined) == (
        400,
        "Sample was not connected",
        ["Access was declined.", "Close this window and connect again."],
    )
    assert await look(client, attempt_id) == {
        "state": "FAILED",
        "externalAccount": None,
        "userErrors": [{"code": "CREDENTIALS_REJECTED", "field": [], "message": "Access was declined."}],
    }
    assert len(catalogue.answers) == 1


async def test_who_comes_back_late_is_told_so_and_connects_nothing(client: Client, catalogue: FakeCatalogue) -> None:
    attempt_id, state = await started(client, catalogue)
    await ServiceAuthorizationAttempt.all().update(expires_at=datetime.now(UTC) - timedelta(seconds=1))

    assert told(await come_back(client, code="good", state=state)) == LATE
    assert (await look(client, attempt_id))["state"] == "EXPIRED"
    assert (catalogue.answers, await ExternalAccount.all().count()) == ([], 0)


async def test_a_state_that_is_found_a_day_later_says_nothing_any_more(
    client: Client, catalogue: FakeCatalogue
) -> None:
    attempt_id, state = await started(client, catalogue)
    await come_back(client, code="good", state=state)
    attempts, now = ServiceAuthorizationAttempt.all(), datetime.now(UTC)

    await attempts.update(expires_at=now - timedelta(hours=23))
    assert told(await come_back(client, code="good", state=state)) == CONNECTED
    await attempts.update(expires_at=now - timedelta(hours=25))
    assert told(await come_back(client, code="good", state=state)) == UNKNOWN
    assert (await look(client, attempt_id))["state"] == "COMPLETED"


async def test_what_is_connected_and_what_its_attempt_says_are_stored_together(
    client: Client, catalogue: FakeCatalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempt_id, state = await started(client, catalogue)

    def away(*_: object) -> Any:
        raise ConnectionError

    monkeypatch.setattr(service_authorizations, "_attempt", away)
    answer = await come_back(client, code="good", state=state)

    assert answer.status_code == 503
    assert (await ExternalAccount.all().count(), await AuditEntry.all().count()) == (0, 0)
    await ServiceAuthorizationAttempt.all().update(expires_at=datetime.now(UTC) - timedelta(seconds=1))
    assert (await look(client, attempt_id))["state"] == "EXPIRED"


@pytest.mark.parametrize("forge", ["", "x", "é", lambda state: state[:-2] + "AA", lambda state: state[4:]])
async def test_a_state_that_we_did_not_give_belongs_to_nothing(
    client: Client, catalogue: FakeCatalogue, forge: Any
) -> None:
    _, state = await started(client, catalogue)

    page = await come_back(client, code="good", state=forge if isinstance(forge, str) else forge(state))

    assert told(page) == UNKNOWN
    assert catalogue.answers == []


async def test_an_attempt_that_is_long_over_is_forgotten(client: Client, catalogue: FakeCatalogue) -> None:
    attempt_id, state = await started(client, catalogue)
    kept_id, _ = await started(client, catalogue)
    long_ago = datetime.now(UTC) - timedelta(days=31)
    oldest = await ServiceAuthorizationAttempt.all().order_by("id").first()
    assert oldest is not None
    await ServiceAuthorizationAttempt.filter(id=oldest.id).update(created_at=long_ago)

    await retention.forget()

    assert await look(client, attempt_id) is None
    assert (await look(client, kept_id))["state"] == "PENDING"
    assert told(await come_back(client, code="good", state=state)) == UNKNOWN


async def test_a_state_is_good_under_every_key_of_the_ring_and_under_no_other(
    client: Client, catalogue: FakeCatalogue, configure: Configure
) -> None:
    before, fresh = os.environ["SLUICE_SECRET_KEYS"], new_key()
    _, first = await started(client, catalogue)
    _, second = await started(client, catalogue)
    try:
        configure(secret_keys=f"{fresh},{before}", public_url=PUBLIC)
        key_ring.cache_clear()
        assert told(await come_back(client, code="good", state=first)) == CONNECTED
        configure(secret_keys=fresh)
        key_ring.cache_clear()
        assert told(await come_back(client, code="good", state=second)) == UNKNOWN
    finally:
        key_ring.cache_clear()


async def test_a_token_that_was_revoked_meanwhile_connects_nothing(client: Client, catalogue: FakeCatalogue) -> None:
    _, state = await started(client, catalogue)
    await ApiToken.filter(account_id=client.account_id).update(revoked_at=datetime.now(UTC))

    page = await come_back(client, code="good", state=state)

    assert told(page)[2][0] == "The token that began this was revoked. Connect again with another."
    assert (catalogue.answers, await ExternalAccount.all().count()) == ([], 0)


async def test_a_failure_of_ours_is_told_and_the_attempt_is_over(
    client: Client, catalogue: FakeCatalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempt_id, state = await started(client, catalogue)

    async def breaks(*_: object) -> None:
        raise KeyError("s3cret")

    monkeypatch.setattr(FakeCatalogue, "exchange", breaks)
    with pytest.raises(KeyError):
        await come_back(client, code="good", state=state)

    assert (await look(client, attempt_id))["userErrors"] == [
        {
            "code": "SERVICE_UNAVAILABLE",
            "field": [],
            "message": "Something went wrong on our side. Connect again.",
        }
    ]


async def test_a_reconnect_opens_the_same_account_again(client: Client, catalogue: FakeCatalogue) -> None:
    connected = await make_external_account(client.account_id, health=ExternalAccountHealth.NEEDS_RECONNECT)
    await ExternalAccount.filter(id=connected.id).update(remote_identity="shop-1", credentials=None)

    attempt_id, state = await started(client, catalogue, externalAccountId=global_id("ExternalAccount", connected.id))
    page = await come_back(client, code="good", state=state)

    assert told(page) == CONNECTED
    assert await look(client, attempt_id) == {
        "state": "COMPLETED",
        "externalAccount": {"label": "shop-1.example.com", "health": "HEALTHY"},
        "userErrors": [],
    }
    assert await ExternalAccount.filter(account_id=client.account_id).count() == 1


async def test_a_reconnect_with_another_account_is_refused_and_changes_nothing(
    client: Client, catalogue: FakeCatalogue
) -> None:
    connected = await make_external_account(client.account_id, label="My shop")
    attempt_id, state = await started(client, catalogue, externalAccountId=global_id("ExternalAccount", connected.id))
    before = await ExternalAccount.filter(account_id=client.account_id).values()
    await come_back(client, code="good", state=state)

    assert await ExternalAccount.filter(account_id=client.account_id).values() == before
    assert (await look(client, attempt_id))["userErrors"] == [
        {
            "code": "WRONG_EXTERNAL_ACCOUNT",
            "field": [],
            "message": "These credentials open shop-1.example.com, not My shop. Connect it as a new one.",
        }
    ]


async def test_a_key_that_the_shop_posts_is_taken_and_its_owner_sees_it_connected(
    client: Client, catalogue: FakeCatalogue
) -> None:
    _, state = await started(client, catalogue)
    posted = await client.http.post(
        "/oauth/callback",
        json={"key_id": 7, "user_id": state, "code": "good", "key_permissions": "read", "nested": {}, "flag": True},
    )
    owner = await come_back(client, success="1", user_id=state)

    assert (posted.status_code, posted.json()) == (200, {"status": "connected"})
    assert catalogue.answers == [{"key_id": "7", "code": "good", "key_permissions": "read"}]
    assert told(owner) == CONNECTED


async def test_an_owner_who_is_back_before_the_key_waits_for_it(client: Client, catalogue: FakeCatalogue) -> None:
    _, state = await started(client, catalogue)
    early = await arrive(client, success="1", user_id=state)
    posted = await client.http.post("/oauth/callback", json={"user_id": state, "code": "good"})
    [field] = re.findall(r'name="state" value="(.*?)"', early.text)
    later = await arrive(client, success="1", state=field)

    assert (told(early), returning.asked(early)) == ((202, "Connecting Sample", ["This takes a moment."]), None)
    assert '<form method="get" action="?" hidden>' in early.text
    assert posted.json() == {"status": "connected"}
    assert told(later) == CONNECTED


async def test_an_owner_who_declines_is_shown_so_without_being_asked(client: Client, catalogue: FakeCatalogue) -> None:
    attempt_id, state = await started(client, catalogue)

    page = await arrive(client, success="0", user_id=state)

    assert (page.status_code, catalogue.answers) == (400, [{"success": "0"}])
    assert (await look(client, attempt_id))["state"] == "FAILED"


async def test_a_shop_whose_key_is_not_taken_is_told_so(client: Client, catalogue: FakeCatalogue) -> None:
    _, state = await started(client, catalogue)
    refused = await client.http.post("/oauth/callback", json={"user_id": state, "consumer_key": "ck_1"})
    unknown = await client.http.post("/oauth/callback", json={"user_id": "x", "consumer_key": "ck_1"})
    broken = await client.http.post(
        "/oauth/callback", content=b'{"user_id": ', headers={"Content-Type": "application/json; charset=UTF-8"}
    )

    assert (refused.status_code, refused.json()) == (400, {"error": "Access was declined."})
    assert (unknown.status_code, unknown.json()) == (404, {"error": UNKNOWN[2][0]})
    assert (broken.status_code, broken.json()) == (404, {"error": UNKNOWN[2][0]})


async def test_what_a_service_puts_into_a_fragment_is_added_to_the_same_question(
    client: Client, catalogue: FakeCatalogue
) -> None:
    await Account.filter(id=client.account_id).update(name="Acme")
    attempt_id, state = await started(client, catalogue)
    page = await arrive(client, state=state)
    still = await look(client, attempt_id)
    connected = await returning.come_back(client.http, f"/oauth/callback?state={state}#code=good")

    nothing = "If there is no button, the service sent nothing back. Close this window and connect again."
    assert told(page) == (200, "Connect Sample?", [*QUESTION[2], nothing])
    assert (returning.asked(page), '<form method="post" action="?" hidden>' in page.text) == ({"state": state}, True)
    assert "new URL(came).hash" in page.text
    assert still["state"] == "PENDING"
    assert told(connected) == CONNECTED
    assert catalogue.answers == [{"code": "good"}]


async def test_whoever_only_looks_does_not_use_an_answer_up(client: Client, catalogue: FakeCatalogue) -> None:
    _, state = await started(client, catalogue)
    looked = await client.http.head("/oauth/callback", params={"code": "good", "state": state})

    assert (looked.status_code, catalogue.answers) == (200, [])
    assert told(await come_back(client, code="good", state=state)) == CONNECTED


@pytest.mark.parametrize(("kind", "status"), [("application/json", 413), ("application/x-www-form-urlencoded", 413)])
async def test_an_answer_has_a_greatest_size(client: Client, kind: str, status: int) -> None:
    answer = await client.http.post("/oauth/callback", content=b"a" * 65537, headers={"Content-Type": kind})

    assert answer.status_code == status
    assert "An answer is at most 64 KiB." in answer.text


@pytest.mark.parametrize(
    ("values", "error"),
    [
        ({"service": "nope"}, ("NOT_FOUND", ["service"], "There is no service 'nope'. Services: book, sample.")),
        (
            {"service": "book"},
            ("INVALID", [], "Address book has no page to agree on: use connectService."),
        ),
        ({"details": {"size": 1}}, ("INVALID", ["details", "size"], "There is no such detail.")),
        ({"details": []}, ("INVALID", ["details"], "`details` must be a JSON object.")),
        (
            {"externalAccountId": global_id("ExternalAccount", UUID(int=7))},
            ("NOT_FOUND", ["externalAccountId"], "There is no external account with this id in your account."),
        ),
    ],
)
async def test_an_attempt_that_cannot_be_begun_says_why(
    client: Client, values: dict[str, Any], error: tuple[str, list[str], str]
) -> None:
    payload = await start(client, **values)

    code, field, message = error
    assert payload == {
        "authorizationUrl": None,
        "serviceAuthorization": None,
        "userErrors": [{"code": code, "field": field, "message": message}],
    }
    assert await ServiceAuthorizationAttempt.all().count() == 0


async def test_an_external_account_is_reconnected_at_its_own_service_only(client: Client) -> None:
    book = await make_external_account(client.account_id, service="book", label="Mine")
    payload = await start(client, externalAccountId=global_id("ExternalAccount", book.id))

    assert payload["userErrors"] == [
        {
            "code": "INVALID",
            "field": ["externalAccountId"],
            "message": "Mine is connected at book, not at sample.",
        }
    ]


async def test_somebody_elses_attempt_and_external_account_are_unknown(
    client: Client, stranger: Client, catalogue: FakeCatalogue
) -> None:
    theirs = await make_external_account(stranger.account_id)
    attempt_id, _ = await started(stranger, catalogue)
    payload = await start(client, externalAccountId=global_id("ExternalAccount", theirs.id))

    assert await look(client, attempt_id) is None
    assert payload["userErrors"][0]["code"] == "NOT_FOUND"


@pytest.mark.parametrize(
    ("base", "redirect_uri"),
    [
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000/oauth/callback"),
        ("http://localhost:9", "http://localhost:9/oauth/callback"),
        ("https://[::1]:8443", "https://[::1]:8443/oauth/callback"),
        ("https://api.internal", None),
    ],
)
async def test_without_a_public_url_only_this_machine_is_come_back_to(
    app: Starlette, catalogue: FakeCatalogue, monkeypatch: pytest.MonkeyPatch, base: str, redirect_uri: str | None
) -> None:
    monkeypatch.delenv("SLUICE_PUBLIC_URL")
    settings.cache_clear()
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=base) as http:
        payload = await start(await make_client(http))

    if redirect_uri is None:
        assert payload["userErrors"] == [
            {
                "code": "NOT_CONFIGURED",
                "field": [],
                "message": "This server does not know where users reach it: its operator must set SLUICE_PUBLIC_URL.",
            }
        ]
    else:
        assert catalogue.attempts[0].redirect_uri == redirect_uri


async def test_an_access_log_of_the_server_holds_neither_code_nor_state(
    client: Client,
    app: Starlette,
    catalogue: FakeCatalogue,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _, state = await started(client, catalogue)
    caplog.set_level(logging.DEBUG)
    # A server without an access log, of a test before, silenced it for good.
    caplog.set_level(logging.DEBUG, "uvicorn.access")
    monkeypatch.setattr(logging.getLogger("uvicorn.access"), "propagate", False)
    monkeypatch.setattr(logging.getLogger("uvicorn.access"), "handlers", [caplog.handler])
    # Not as we configure it, which writes none.
    server = uvicorn.Server(uvicorn.Config(app, lifespan="off", access_log=True, log_config=None))
    with bind() as listener:
        running = asyncio.create_task(server._serve([listener]))
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{listener.getsockname()[1]}") as http:
            page = await returning.come_back(http, f"/oauth/callback?code=good&state={state}")
        server.should_exit = True
        await running

    lines = [record.getMessage() for record in caplog.records if record.name == "uvicorn.access"]
    assert told(page) == CONNECTED
    assert [line.partition(" - ")[2] for line in lines] == [
        f'"{method} /oauth/callback HTTP/1.1" 200' for method in ("GET", "POST")
    ]
    assert state not in "".join(record.getMessage() for record in caplog.records if record.name.startswith("uvicorn"))


async def test_a_whole_consent_with_a_real_code_flow(
    database: None, configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    register(monkeypatch)
    async with vendor_stage() as stage:
        app = create_app(catalogue=stage.catalogue, queue=RecordingQueue(), events=RecordingEvents(), watch=DeafWatch())
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://sluice.test") as http:
            client = await make_client(http)
            services = await client.data("{ services { key authorization authorizations credentialsSchema } }")
            payload = await start(client, service="vendor")
            page = httpx.URL(payload["authorizationUrl"])
            async with httpx.AsyncClient() as browser:
                agreed = await browser.get(f"http://{stage.address}{page.raw_path.decode()}")
            ended = await returning.come_back(http, agreed.headers["location"])
            attempt = await look(client, payload["serviceAuthorization"]["id"])
    monkeypatch.undo()
    client_registration.cache_clear()

    made = await ExternalAccount.get(account_id=client.account_id)
    assert services["services"] == [
        {"key": "vendor", "authorization": "OAUTH", "authorizations": ["OAUTH"], "credentialsSchema": None}
    ]
    assert told(ended) == (
        200,
        "Vendor is connected",
        ["Me at the vendor is connected.", "You can close this window."],
    )
    assert attempt["state"] == "COMPLETED"
    values = unseal_json(made.credentials or b"", row=made.id)
    assert (values["access_token"], values["refresh_token"]) == ("a1", "r1")
    [asked] = stage.vendor.token_requests
    assert (asked["redirect_uri"], asked["code"]) == (f"{PUBLIC}/oauth/callback", "code-0")


async def test_nothing_is_left_of_attempts_where_the_account_is_deleted(
    client: Client, catalogue: FakeCatalogue
) -> None:
    await started(client, catalogue)
    assert (await rows_of(client.account_id))["service_authorization"] != []
    await database.fetch("DELETE FROM account WHERE id = $1", client.account_id)

    assert await ServiceAuthorizationAttempt.all().count() == 0
