"""Trello's API as far as members go: workspaces, boards, their memberships, batches, tokens.

Stricter than Trello in one thing: a parameter that it would ignore is refused.
"""

import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from tests.connectors.simulators.kit import CLIENT_ID, Traffic, name_of

KEY, TOKEN = CLIENT_ID, "ATTAs3cret-t0ken"
WORKSPACE, OTHER_WORKSPACE = "5a00000000000000000000a1", "5a00000000000000000000a2"
BOARD, PRIVATE_BOARD = "5b00000000000000000000b1", "5b00000000000000000000b2"
ME = "4e0000000000000000000001"
FIRST_MEMBER = 0x500000000000000000001000

MEMBER_FIELDS = frozenset({"fullName", "username", "initials", "avatarUrl", "email", "aaEmail"})
NESTED_BY_DEFAULT = frozenset({"fullName", "username", "initials"})
PARAMETERS = {
    "organizations": frozenset({"filter", "member", "member_fields"}),
    "boards": frozenset({"filter", "member", "member_fields", "activity", "orgMemberType"}),
}
MOST_IN_BATCH = 10


@dataclass(slots=True, kw_only=True)
class Person:
    """A member. `places` says what of which workspaces and boards; `shown`: the token sees the address."""

    name: str
    email: str | None
    places: dict[str, str]
    shown: bool = True
    managed: bool = False
    unconfirmed: bool = False
    deactivated: set[str] = field(default_factory=set)


@dataclass(slots=True, kw_only=True)
class Board:
    """A board, of a workspace or of none."""

    name: str
    workspace: str | None
    closed: bool = False


@dataclass(slots=True, kw_only=True)
class TrelloApi:
    """Trello with two workspaces, a board in the first and one in none. Members are in the first workspace.

    The login manages the accounts of everybody but those that are not `shown`: else Trello would show no address.
    `ignores_member_fields`: nested members have what they have by default, as the contract has it for workspaces.
    `nests_no_members`: not even these. `hidden`: places that the login may list but not read, by the status it gets.
    `sends_nulls`: what there is none of is null instead of left out. `names_errors`: a batch's errors are bodies that
    name their status, instead of being below it. `limit`: the code that the next `limited` requests get with a 429.
    `per_token`: requests in 10 seconds; `counts_listings`: those of a batch, too. `declines`: what the user does.
    """

    people: dict[str, Person] = field(default_factory=dict)
    workspaces: dict[str, str] = field(default_factory=lambda: {WORKSPACE: "Acme", OTHER_WORKSPACE: "Bowling club"})
    boards: dict[str, Board] = field(
        default_factory=lambda: {
            BOARD: Board(name="Roadmap", workspace=WORKSPACE),
            PRIVATE_BOARD: Board(name="Garden", workspace=None),
        }
    )
    ignores_member_fields: bool = False
    nests_no_members: bool = False
    hidden: dict[str, int] = field(default_factory=dict)
    sends_nulls: bool = False
    names_errors: bool = False
    limit: str = "API_TOKEN_LIMIT_EXCEEDED"
    limited: int = 0
    per_token: int = 100
    counts_listings: bool = False
    declines: bool = False
    tokens: set[str] = field(default_factory=lambda: {TOKEN})
    asked_at: list[float] = field(default_factory=list)
    next_number: int = 0
    page_size: int = 500
    service: str = "trello"
    origins: Sequence[str] = ("https://api.trello.com", "https://trello.com")
    credentials: Mapping[str, Any] = field(default_factory=lambda: {"api_key": KEY, "token": TOKEN})
    criteria: Mapping[str, Any] = field(default_factory=lambda: {"workspaces": [WORKSPACE]})
    secrets: Sequence[str] = (KEY, TOKEN)
    traffic: Traffic = field(init=False)

    def __post_init__(self) -> None:
        routes: list[tuple[str, Callable[[Request], Response]]] = [
            ("/1/members/me", self._me),
            ("/1/members/me/organizations", self._organizations),
            ("/1/members/me/boards", self._boards),
            ("/1/{collection:str}/{id:str}/memberships", self._memberships),
            ("/1/batch", self._batch),
        ]
        self.traffic = Traffic(
            Starlette(
                routes=[
                    Route("/1/authorize", self._authorize),
                    Route("/1/tokens/{token:path}", self._guarded(self._delete_token), methods=["DELETE"]),
                    *(Route(path, self._guarded(answer)) for path, answer in routes),
                ]
            )
        )

    # The simulator's handles

    def add(self, email: str | None, *, name: str | None = None, places: Iterable[str] = (WORKSPACE, BOARD)) -> str:
        id_ = f"{FIRST_MEMBER + self.next_number:024x}"
        self.next_number += 1
        full_name = " ".join(name_of(email)) if name is None else name
        self.people[id_] = Person(name=full_name, email=email, places=dict.fromkeys(places, "normal"))
        return id_

    def change(self, external_id: str) -> None:
        self.people[external_id].name += " Jr"

    def remove(self, external_id: str) -> None:
        del self.people[external_id]

    def matching(self) -> dict[str, str | None]:
        return {
            id_: person.email if person.shown else None
            for id_, person in self.people.items()
            if WORKSPACE in person.places and WORKSPACE not in person.deactivated
        }

    def expire_checkpoints(self) -> None:
        """Trello gives none out."""

    def revoke(self) -> None:
        self.tokens.clear()

    # Who asks

    def _guarded(self, answer: Callable[[Request], Response]) -> Callable[[Request], Response]:
        def guarded(request: Request) -> Response:
            given = dict(re.findall(r'(\w+)="([^"]*)"', request.headers.get("Authorization", "")))
            if not request.headers.get("Authorization", "").startswith("OAuth "):
                return PlainTextResponse("unauthorized permission requested", 401)
            if given.get("oauth_consumer_key") != KEY:
                return PlainTextResponse("invalid key", 401)
            if given.get("oauth_token") not in self.tokens:
                return PlainTextResponse("invalid token", 401)
            return self._limited() or answer(request)

        return guarded

    def _limited(self) -> Response | None:
        """100 requests in 10 seconds. Nothing says when to come back."""
        now = time.monotonic()
        self.asked_at = [*(moment for moment in self.asked_at if moment > now - 10), now]
        if self.limited == 0 and len(self.asked_at) <= self.per_token:
            return None
        self.limited = max(self.limited - 1, 0)
        return JSONResponse({"error": self.limit, "message": "Rate limit exceeded"}, 429)

    # The API

    def _me(self, request: Request) -> Response:
        me = {"id": ME, "username": "olga", "fullName": "Olga Owner", "email": "olga@example.com"}
        return _shaped(request, [me], {"fields"}, single=True)

    def _organizations(self, request: Request) -> Response:
        found = [{"id": id_, "name": _slug(name), "displayName": name} for id_, name in self.workspaces.items()]
        return _shaped(request, found, {"fields", "filter"})

    def _boards(self, request: Request) -> Response:
        is_open = request.query_params.get("filter") == "open"
        found = [
            {
                "id": id_,
                "name": board.name,
                "closed": board.closed,
                **({"idOrganization": board.workspace} if board.workspace or self.sends_nulls else {}),
            }
            for id_, board in self.boards.items()
            if not (is_open and board.closed)
        ]
        return _shaped(request, found, {"fields", "filter"})

    def _batch(self, request: Request) -> Response:
        paths = request.query_params.get("urls", "").split(",")
        if not 1 <= len(paths) <= MOST_IN_BATCH or not all(path.startswith("/") for path in paths):
            return PlainTextResponse("invalid value for urls", 400)
        for _ in paths if self.counts_listings else ():
            if limited := self._limited():
                return limited
        return JSONResponse([self._of_batch(path) for path in paths])

    def _of_batch(self, path: str) -> dict[str, Any]:
        asked = re.fullmatch(r"/(\w+)/(\w+)/memberships", httpx.URL(path).path)
        parameters = dict(httpx.URL(path).params)
        status, body = self._members_of(asked[1], asked[2], parameters) if asked else (404, "not found")
        if status != 200 and self.names_errors:
            return {"name": "Error", "message": body, "statusCode": status}
        return {str(status): body}

    def _memberships(self, request: Request) -> Response:
        path = request.path_params
        status, body = self._members_of(path["collection"], path["id"], dict(request.query_params))
        return JSONResponse(body) if status == 200 else PlainTextResponse(str(body), status)

    def _members_of(self, collection: str, place: str, parameters: Mapping[str, str]) -> tuple[int, Any]:
        if collection not in PARAMETERS:
            return 404, "not found"
        if unknown := {*parameters} - PARAMETERS[collection]:
            return 400, f"invalid parameters {sorted(unknown)}"
        if place not in {**self.workspaces, **self.boards}:
            return 404, "The requested resource was not found."
        if place in self.hidden:
            return self.hidden[place], "unauthorized org permission requested"
        asked = frozenset(parameters.get("member_fields", "").split(",")) - {""}
        if asked - MEMBER_FIELDS:
            return 400, "invalid value for member_fields"
        shown = asked if asked and not self.ignores_member_fields else NESTED_BY_DEFAULT
        nests = parameters.get("member") == "true" and not self.nests_no_members
        return 200, [
            {
                "id": f"6{id_[1:]}",
                "idMember": id_,
                "memberType": person.places[place],
                "unconfirmed": person.unconfirmed,
                "deactivated": place in person.deactivated,
                **({"member": _nested(id_, person, shown, sends_nulls=self.sends_nulls)} if nests else {}),
            }
            for id_, person in reversed(self.people.items())
            if place in person.places
        ]

    # Tokens

    def _authorize(self, request: Request) -> Response:
        asked = request.query_params
        if asked.get("key") != CLIENT_ID:
            return PlainTextResponse("invalid key", 401)
        if (asked.get("response_type"), asked.get("callback_method")) != ("token", "fragment"):
            return PlainTextResponse("invalid request", 400)
        if asked.get("expiration") not in {"1hour", "1day", "30days", "never"} or not asked.get("name"):
            return PlainTextResponse("invalid request", 400)
        if not {*asked.get("scope", "").split(",")} <= {"read", "write", "account"}:
            return PlainTextResponse("invalid scope", 400)
        token = f"{TOKEN}-{len(self.tokens)}"
        if not self.declines:
            self.tokens.add(token)
        # The address to return to may have a query of its own, which stays.
        answer = "error=Token request rejected" if self.declines else f"token={token}"
        return RedirectResponse(str(httpx.URL(asked["return_url"]).copy_with(fragment=answer)), 302)

    def _delete_token(self, request: Request) -> Response:
        token = request.path_params["token"]
        if token not in self.tokens:
            return PlainTextResponse("The requested resource was not found.", 404)
        self.tokens.discard(token)
        return JSONResponse({})


def _nested(id_: str, person: Person, shown: frozenset[str], *, sends_nulls: bool) -> dict[str, Any]:
    known: dict[str, Any] = {
        "fullName": person.name,
        "username": _slug(person.name),
        "initials": "".join(word[0] for word in person.name.split()),
        "avatarUrl": f"https://trello-members.s3.amazonaws.com/{id_}/0123456789abcdef",
    }
    if sends_nulls:
        known |= {"email": None, "aaEmail": None, **({"avatarUrl": None} if not person.shown else {})}
    if person.shown and person.email is not None:
        known["aaEmail" if person.managed else "email"] = person.email
    return {"id": id_, **{key: value for key, value in known.items() if key in shown}}


def _shaped(request: Request, found: Sequence[Mapping[str, Any]], known: set[str], *, single: bool = False) -> Response:
    if unknown := {*request.query_params} - known:
        return PlainTextResponse(f"invalid parameters {sorted(unknown)}", 400)
    fields = {"id", *request.query_params.get("fields", "").split(",")}
    shaped = [{key: value for key, value in item.items() if key in fields} for item in found]
    return JSONResponse(shaped[0] if single else shaped)


def _slug(name: str) -> str:
    return re.sub(r"\W+", "", name).lower()


def make(people: int) -> TrelloApi:
    """Trello with so many members in its first workspace."""
    simulator = TrelloApi()
    for number in range(people):
        simulator.add(f"person-{number}@example.com")
    return simulator
