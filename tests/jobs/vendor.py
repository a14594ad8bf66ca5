"""A service with OAuth and rotating tokens: its API, its connector, and an external account of it with a worker."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import httpx
import pytest
from pydantic import BaseModel
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from connectors import http
from connectors.base import Checkpoint, Choice, Page, Registration, RemoteAccount, Service, ServiceCategory
from connectors.http_client import open_client
from connectors.oauth import Tokens, code_flow
from domain.credentials import seal_json, unseal_json
from domain.models import ExternalAccount
from domain.records import Record
from domain.settings import client_registration
from jobs.catalogue import ConnectorCatalogue
from jobs.reactions import Context
from tests.api.live import serving
from tests.jobs.scripted import Stage, make_stage

ORIGIN = "https://vendor.example"
PEOPLE = [f"person-{number}@example.com" for number in range(6)]
PER_PAGE = 2


class Criteria(BaseModel):
    """All people, or those of a group."""

    group: str | None = None


@dataclass
class Vendor:
    """The service: which tokens it accepts, and what it was asked. Every refresh token is good for once.

    `lives`: seconds of an access token. `busy`: so often the token endpoint does not answer; else it takes `hesitates`
    seconds. `ends_after`: behind so many requests for people the access token is refused. `always_refuses`: people are
    never given. They are given once it `lets_answer`.
    """

    codes: set[str] = field(default_factory=set)
    access: str = "a0"
    refresh: str = "r0"
    number: int = 0
    lives: int | None = 3600
    busy: int = 0
    hesitates: float = 0
    ends_after: int | None = None
    always_refuses: bool = False
    is_revoked: bool = False
    was_asked: asyncio.Event = field(default_factory=asyncio.Event)
    lets_answer: asyncio.Event = field(default_factory=asyncio.Event)
    token_requests: list[dict[str, str]] = field(default_factory=list)
    pages_asked: list[tuple[str, int]] = field(default_factory=list)
    given_back: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.lets_answer.set()

    @property
    def app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/authorize", self.authorize),
                Route("/token", self.token, methods=["POST"]),
                Route("/people", self.people),
                Route("/me", self.me),
                Route("/revoke", self.revoke, methods=["POST"]),
            ]
        )

    async def authorize(self, request: Request) -> Response:
        """The user agrees at once."""
        code = f"code-{len(self.codes)}"
        self.codes.add(code)
        answer = httpx.QueryParams(code=code, state=request.query_params["state"])
        return RedirectResponse(f"{request.query_params['redirect_uri']}?{answer}")

    async def token(self, request: Request) -> Response:
        asked = dict(httpx.QueryParams((await request.body()).decode()))
        self.token_requests.append(asked)
        await asyncio.sleep(self.hesitates)
        if self.busy:
            self.busy -= 1
            return Response(status_code=503)
        known = asked["code"] in self.codes if "code" in asked else asked["refresh_token"] == self.refresh
        if self.is_revoked or not known:
            return JSONResponse({"error": "invalid_grant"}, status_code=400)
        self.number += 1
        self.access, self.refresh = f"a{self.number}", f"r{self.number}"
        life = {} if self.lives is None else {"expires_in": self.lives}
        return JSONResponse({"access_token": self.access, "refresh_token": self.refresh, **life})

    async def people(self, request: Request) -> Response:
        after, token = int(request.query_params["after"]), self._token(request)
        self.pages_asked.append((token, after))
        self.was_asked.set()
        await self.lets_answer.wait()
        if self.ends_after is not None and len(self.pages_asked) > self.ends_after:
            # Until it is renewed.
            self.ends_after, self.access = None, "another"
        if not self._lets_in(request) or self.always_refuses:
            return Response(status_code=401)
        return JSONResponse(PEOPLE[after : after + PER_PAGE])

    async def me(self, request: Request) -> Response:
        return JSONResponse({"id": "me"}) if self._lets_in(request) else Response(status_code=401)

    async def revoke(self, request: Request) -> Response:
        if self.busy:
            return Response(status_code=503)
        if not self._lets_in(request):
            return Response(status_code=401)
        self.given_back.append(self._token(request))
        return Response()

    def _lets_in(self, request: Request) -> bool:
        return not self.is_revoked and self._token(request) == self.access

    def _token(self, request: Request) -> str:
        return request.headers["authorization"].removeprefix("Bearer ")


async def _get(client: httpx.AsyncClient, credentials: Tokens, path: str) -> Any:
    headers = {"Authorization": f"Bearer {credentials.access_token.get_secret_value()}"}
    return (await http.request(client, "GET", f"{ORIGIN}{path}", headers=headers)).json()


@dataclass(frozen=True)
class Reader:
    """The connector: the checkpoint is the number of people read."""

    client: httpx.AsyncClient
    credentials: Tokens

    async def pages(self, checkpoint: Checkpoint | None) -> AsyncGenerator[Page, None]:
        after = checkpoint["after"] if checkpoint else 0
        while people := await _get(self.client, self.credentials, f"/people?after={after}"):
            after += len(people)
            records = [Record(external_id=email, email=email) for email in people]
            yield Page(records=records, checkpoint={"after": after})


async def _identify(client: httpx.AsyncClient, credentials: Tokens) -> RemoteAccount:
    return RemoteAccount(identity=(await _get(client, credentials, "/me"))["id"], label="Me at the vendor")


async def _choices(client: httpx.AsyncClient, credentials: Tokens, _: str) -> Sequence[Choice]:
    return [Choice(value=(await _get(client, credentials, "/me"))["id"], label="Mine")]


async def _revoke(client: httpx.AsyncClient, registration: Registration | None, credentials: Tokens) -> None:
    assert registration is not None
    headers = {"Authorization": f"Bearer {credentials.access_token.get_secret_value()}"}
    await http.request(client, "POST", f"{ORIGIN}/revoke", headers=headers)


VENDOR = Service(
    key="vendor",
    name="Vendor",
    category=ServiceCategory.E_COMMERCE,
    documentation_url="https://vendor.example/docs",
    credentials=Tokens,
    authorization=code_flow(authorize_url=f"{ORIGIN}/authorize", token_url=f"{ORIGIN}/token", scope="people"),
    criteria=Criteria,
    fields=(),
    connect=lambda client, credentials, _: Reader(client, credentials),
    identify=_identify,
    choices=_choices,
    revoke=_revoke,
)


@dataclass(kw_only=True)
class VendorStage(Stage):
    """A stage whose external account is at the vendor."""

    vendor: Vendor
    address: str

    @property
    def origins(self) -> dict[str, str]:
        return {ORIGIN: f"http://{self.address}"}

    @property
    def context(self) -> Context:
        return Context(
            services={"vendor": VENDOR},
            open_client=partial(open_client, allow_private_hosts=True, origins=self.origins),
            events=self.events,
            queue=self.queue,
        )

    @property
    def catalogue(self) -> ConnectorCatalogue:
        return ConnectorCatalogue(registered={"vendor": VENDOR}, allow_private_hosts=True, origins=self.origins)

    async def give(self, access: str, refresh: str | None, *, ends_in: timedelta | None = None) -> None:
        """Store these tokens."""
        expires_at = None if ends_in is None else datetime.now(UTC) + ends_in
        values = {"access_token": access, "refresh_token": refresh, "expires_at": expires_at}
        sealed = seal_json(values, row=self.external_account_id)
        await ExternalAccount.filter(id=self.external_account_id).update(credentials=sealed)

    async def tokens(self) -> tuple[str, str | None] | None:
        """The access and the refresh token that are stored."""
        sealed = (await self.external_account()).credentials
        if sealed is None:
            return None
        values = unseal_json(sealed, row=self.external_account_id)
        return values["access_token"], values["refresh_token"]


def register(monkeypatch: pytest.MonkeyPatch) -> None:
    """Register this server at the vendor."""
    monkeypatch.setenv("SLUICE_VENDOR_CLIENT_ID", "us")
    monkeypatch.setenv("SLUICE_VENDOR_CLIENT_SECRET", "s3cret")
    client_registration.cache_clear()


@asynccontextmanager
async def vendor_stage() -> AsyncIterator[VendorStage]:
    """A vendor that runs, and an external account there, with the vendor's first tokens."""
    stage, vendor = await make_stage(), Vendor()
    await ExternalAccount.filter(id=stage.external_account_id).update(service="vendor", label="Me at the vendor")
    async with serving(vendor.app) as address:
        made = VendorStage(
            account_id=stage.account_id, external_account_id=stage.external_account_id, vendor=vendor, address=address
        )
        await made.give("a0", "r0", ends_in=timedelta(hours=1))
        yield made
