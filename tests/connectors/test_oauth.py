"""The authorization code flow: what is sent, what is kept, and what each refusal means."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs

import httpx
import pytest
from pydantic import BaseModel, SecretStr

from connectors.base import (
    AccessRevokedError,
    Attempt,
    Authorization,
    ConnectorError,
    Registration,
    TransientError,
    UnexpectedResponseError,
)
from connectors.oauth import NoDetails, Tokens, code_flow

CALLBACK = "https://sluice.example/oauth/callback"
REGISTERED = Registration(client_id="us", client_secret=SecretStr("s3cret-of-ours"))


class Shop(BaseModel):
    """What has to be known before."""

    shop: str
    noticed_in: str = "search"


class ShopTokens(Tokens):
    """Tokens of a shop."""

    shop: str


FLOW = code_flow(authorize_url="https://id.example/authorize?v=2", token_url="https://id.example/token", scope="a b")
SHOP_FLOW = code_flow(
    authorize_url=lambda known: f"https://{known.shop}/authorize",
    token_url=lambda known: f"https://{known.shop}/token",
    scope="read",
    details=Shop,
    credentials=ShopTokens,
    parameters={"access_type": "offline"},
    token_parameters={"expiring": "1"},
)


def attempt(details: BaseModel | None = None, registration: Registration | None = REGISTERED) -> Attempt:
    # The verifier and its challenge are RFC 7636's, appendix B.
    return Attempt(
        registration=registration,
        details=details or NoDetails(),
        redirect_uri=CALLBACK,
        state="st4te",
        verifier="dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk",
    )


class TokenEndpoint:
    """Gives one answer, and keeps what it was asked."""

    def __init__(self, answer: httpx.Response | Exception | Mapping[str, Any]) -> None:
        self.answer = answer
        self.asked: list[dict[str, str]] = []
        self.urls: list[str] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.urls.append(str(request.url))
        self.asked.append({name: values[0] for name, values in parse_qs(request.content.decode()).items()})
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer if isinstance(self.answer, httpx.Response) else httpx.Response(200, json=dict(self.answer))

    def client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(transport=httpx.MockTransport(self))


async def exchange(answer: Any, flow: Authorization = FLOW, details: BaseModel | None = None) -> Any:
    async with TokenEndpoint(answer).client() as client:
        return await flow.finish(client, attempt(details), {"code": "c0de-of-theirs"})


async def renew(answer: Any, old: Tokens) -> Any:
    assert FLOW.renew is not None
    async with TokenEndpoint(answer).client() as client:
        return await FLOW.renew(client, REGISTERED, old)


def test_the_page_is_asked_for_a_code_with_pkce_and_state() -> None:
    url = httpx.URL(FLOW.start(attempt()))

    assert (url.scheme, url.host, url.path) == ("https", "id.example", "/authorize")
    assert dict(url.params) == {
        "v": "2",
        "response_type": "code",
        "client_id": "us",
        "redirect_uri": CALLBACK,
        "scope": "a b",
        "state": "st4te",
        "code_challenge": "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM",
        "code_challenge_method": "S256",
    }


def test_details_choose_the_page_and_parameters_are_added() -> None:
    url = httpx.URL(SHOP_FLOW.start(attempt(Shop(shop="acme.example"))))

    assert (url.host, url.params["access_type"]) == ("acme.example", "offline")


async def test_the_code_is_exchanged_with_the_verifier_and_the_secret_in_the_body() -> None:
    endpoint = TokenEndpoint({"access_token": "at", "refresh_token": "rt", "expires_in": 3600})
    before = datetime.now(UTC)
    async with endpoint.client() as client:
        tokens = await SHOP_FLOW.finish(client, attempt(Shop(shop="acme.example")), {"code": "c0de"})
    after = datetime.now(UTC)

    assert endpoint.urls == ["https://acme.example/token"]
    assert endpoint.asked == [
        {
            "grant_type": "authorization_code",
            "code": "c0de",
            "redirect_uri": CALLBACK,
            "code_verifier": "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk",
            "client_id": "us",
            "client_secret": "s3cret-of-ours",
            "expiring": "1",
        }
    ]
    assert isinstance(tokens, ShopTokens)
    assert (tokens.shop, tokens.access_token.get_secret_value()) == ("acme.example", "at")
    assert tokens.refresh_token == SecretStr("rt")
    assert tokens.expires_at is not None
    assert before + timedelta(hours=1) <= tokens.expires_at <= after + timedelta(hours=1)


@pytest.mark.parametrize(
    ("answer", "lasts", "renewable"),
    [
        ({"access_token": "at"}, True, False),
        ({"access_token": "at", "refresh_token": "", "expires_in": None}, True, False),
        ({"access_token": "at", "refresh_token": "rt", "expires_in": "60"}, False, True),
        ({"access_token": "at", "expires_in": 1e300}, False, False),
    ],
)
async def test_what_the_service_leaves_out_is_unknown_and_what_it_exaggerates_is_bounded(
    answer: Mapping[str, Any], lasts: bool, renewable: bool
) -> None:
    tokens = await exchange(answer)

    assert (tokens.expires_at is None, tokens.refresh_token is not None) == (lasts, renewable)


OLD = Tokens(access_token=SecretStr("old at"), refresh_token=SecretStr("old rt"), expires_at=datetime.now(UTC))


async def test_a_renewal_asks_with_the_refresh_token_and_a_rotated_one_replaces_it() -> None:
    endpoint = TokenEndpoint({"access_token": "new at", "refresh_token": "new rt", "expires_in": 60})
    assert FLOW.renew is not None
    async with endpoint.client() as client:
        fresh = await FLOW.renew(client, REGISTERED, OLD)

    assert endpoint.asked == [
        {
            "grant_type": "refresh_token",
            "refresh_token": "old rt",
            "client_id": "us",
            "client_secret": "s3cret-of-ours",
        }
    ]
    assert isinstance(fresh, Tokens)
    assert (fresh.access_token, fresh.refresh_token) == (SecretStr("new at"), SecretStr("new rt"))


@pytest.mark.parametrize("more", [{}, {"refresh_token": None}, {"refresh_token": ""}])
async def test_a_refresh_token_that_is_not_rotated_is_kept(more: Mapping[str, Any]) -> None:
    fresh = await renew({"access_token": "new at", **more}, OLD)

    assert (fresh.access_token, fresh.refresh_token, fresh.expires_at) == (
        SecretStr("new at"),
        SecretStr("old rt"),
        None,
    )


async def test_what_else_is_known_of_the_credentials_survives_a_renewal() -> None:
    old = ShopTokens(access_token=SecretStr("a"), refresh_token=SecretStr("r"), shop="acme.example")
    endpoint = TokenEndpoint({"access_token": "b"})
    assert SHOP_FLOW.renew is not None
    async with endpoint.client() as client:
        fresh = await SHOP_FLOW.renew(client, REGISTERED, old)

    assert fresh == ShopTokens(access_token=SecretStr("b"), refresh_token=SecretStr("r"), shop="acme.example")
    assert endpoint.urls == ["https://acme.example/token"]


async def test_without_a_refresh_token_only_the_user_can_renew() -> None:
    with pytest.raises(AccessRevokedError, match="gave nothing to renew"):
        await renew({"access_token": "x"}, Tokens(access_token=SecretStr("a")))


def oauth_error(code: object, status: int = 400) -> httpx.Response:
    return httpx.Response(
        status, json={"error": code, "error_description": "quoting s3cret-of-ours and c0de-of-theirs"}
    )


@pytest.mark.parametrize(
    ("answer", "error", "says"),
    [
        (oauth_error("invalid_grant"), AccessRevokedError, "invalid_grant: the service no longer accepts"),
        (oauth_error("invalid_grant", 200), AccessRevokedError, "no longer accepts what the user agreed to"),
        (oauth_error("app_not_installed"), AccessRevokedError, "app_not_installed: the service no longer accepts"),
        (oauth_error("access_denied", 403), AccessRevokedError, "access_denied: the service no longer accepts"),
        (oauth_error("invalid_client", 401), UnexpectedResponseError, "check the client id and the client secret"),
        (oauth_error("unauthorized_client", 403), UnexpectedResponseError, "check the client id and the client secret"),
        (oauth_error("redirect_uri_mismatch"), UnexpectedResponseError, "enter its SLUICE_PUBLIC_URL with"),
        (oauth_error("invalid_scope"), UnexpectedResponseError, "invalid_scope. The operator of this server should"),
        (oauth_error({"a": 1}), UnexpectedResponseError, "400 a1. The operator of this server should"),
        (oauth_error("temporarily_unavailable"), TransientError, "temporarily_unavailable"),
        (oauth_error("invalid_grant", 503), TransientError, "503"),
        (httpx.Response(502, text="<html>"), TransientError, "502"),
        (httpx.Response(429, headers={"Retry-After": "7"}), TransientError, "429"),
        (httpx.ReadTimeout("no"), TransientError, "no answer"),
        (httpx.Response(425), TransientError, "425"),
        *(
            (
                httpx.Response(status, text="<html>blocked"),
                UnexpectedResponseError,
                f"{status}, where JSON was due: text/plain. If that goes on, connect it again.",
            )
            for status in (400, 401, 403, 404)
        ),
        (httpx.Response(200, text="<html>"), UnexpectedResponseError, "200, where JSON was due"),
        ({}, UnexpectedResponseError, "200, without an access token"),
        ({"access_token": ""}, UnexpectedResponseError, "not as documented: access_token"),
        ({"access_token": "x", "expires_in": -1}, UnexpectedResponseError, "not as documented: expires_in"),
        (httpx.Response(400, json={"access_token": "x"}), UnexpectedResponseError, "400, without an access token"),
    ],
)
@pytest.mark.parametrize("ask", [exchange, lambda answer: renew(answer, OLD)], ids=["exchange", "renewal"])
async def test_each_refusal_of_the_token_endpoint_has_its_reaction_and_tells_no_secret(
    ask: Callable[[Any], Any], answer: Any, error: type[ConnectorError], says: str
) -> None:
    with pytest.raises(error) as raised:
        await ask(answer)

    assert type(raised.value) is error
    assert says in str(raised.value)
    for secret in ("s3cret-of-ours", "c0de-of-theirs", "old rt", "old at", "dBjft"):
        assert secret not in str(raised.value)


async def test_a_busy_token_endpoint_is_left_alone_as_long_as_it_asks() -> None:
    with pytest.raises(TransientError) as raised:
        await renew(httpx.Response(429, headers={"Retry-After": "7"}), OLD)

    assert raised.value.retry_after == timedelta(seconds=7)


ODD = (
    "The service did not ask for access (invalid_scopescript)."
    " The operator of this server should check how it is registered."
)


@pytest.mark.parametrize(
    ("answer", "error", "message"),
    [
        ({"error": "access_denied"}, AccessRevokedError, "Access was declined on the page of the service."),
        ({"error": "server_error"}, TransientError, "The service could not ask for access now (server_error)."),
        ({"error": "invalid_scope<script>"}, UnexpectedResponseError, ODD),
        ({"hmac": "x"}, UnexpectedResponseError, "The service sent neither a code nor an error. Connect again."),
    ],
)
async def test_each_answer_without_a_code_says_why_and_asks_nobody(
    answer: Mapping[str, str], error: type[ConnectorError], message: str
) -> None:
    endpoint = TokenEndpoint({"access_token": "at"})
    async with endpoint.client() as client:
        with pytest.raises(error) as raised:
            await FLOW.finish(client, attempt(), answer)

    assert str(raised.value) == message
    assert endpoint.asked == []


async def test_an_answer_that_is_not_the_services_own_is_not_exchanged() -> None:
    def verify(_: Attempt, answer: Mapping[str, str]) -> None:
        if answer.get("hmac") != "right":
            raise UnexpectedResponseError("The answer is not signed by the shop.")

    flow = code_flow(authorize_url="https://x.example", token_url="https://x.example", scope="", verify=verify)
    endpoint = TokenEndpoint({"access_token": "at"})
    async with endpoint.client() as client:
        with pytest.raises(UnexpectedResponseError, match="not signed"):
            await flow.finish(client, attempt(), {"code": "c", "hmac": "wrong"})
        await flow.finish(client, attempt(), {"code": "c", "hmac": "right"})

    assert len(endpoint.asked) == 1


def test_tokens_show_nothing_of_themselves() -> None:
    assert "old" not in repr(OLD) + str(OLD) + OLD.model_dump_json()
    assert "dBjft" not in repr(attempt())
    assert "s3cret" not in repr(attempt())
