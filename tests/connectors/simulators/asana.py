"""Asana's API as far as people go: users, memberships, workspaces, teams, OAuth.

Stricter than Asana in one thing: a field in `opt_fields` that the contract does not name is refused.
"""

import json
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.connectors.simulators.asana_oauth import ME, TOKEN, AsanaOAuth
from tests.connectors.simulators.kit import Traffic, name_of

API = "/api/1.0"
WORKSPACE, OTHER_WORKSPACE = "1200000000000100", "1200000000000200"
SALES, SUPPORT = "1200000000000301", "1200000000000302"
FIRST_PERSON = 1200000000001000

USER_FIELDS = frozenset({"name", "email", "photo", "photo.image_128x128", "workspaces", "workspaces.name"})
MEMBERSHIP_FIELDS = frozenset({"user", "user.name", "is_active", "is_guest", "is_admin", "workspace", "created_at"})
CAPPED = 2000
MOST_PER_REQUEST = 100


@dataclass(slots=True, kw_only=True)
class Person:
    """A user. `places` are the gids of workspaces and teams."""

    name: str
    email: str | None
    places: set[str]
    photo: str | None = None
    guest: bool = False
    active: bool = True


@dataclass(slots=True, kw_only=True)
class AsanaApi:
    """Asana with two workspaces and two teams.

    `memberships_status`: refuse the listing of memberships so. `limited_apps`: no scope opens that listing, as the
    contract leaves open. `hidden`: users whose address the login does not see. `gone`: workspaces and teams that are
    no more. `per_minute`: requests a token may make. `signed_photos`: pictures' addresses are other ones each time.
    `lists_deactivated`: users' listings have those, too.
    """

    people: dict[str, Person] = field(default_factory=dict)
    workspaces: dict[str, str] = field(default_factory=lambda: {WORKSPACE: "Acme", OTHER_WORKSPACE: "Bowling club"})
    teams: dict[str, tuple[str, str]] = field(
        default_factory=lambda: {SALES: (WORKSPACE, "Sales"), SUPPORT: (WORKSPACE, "Support")}
    )
    memberships_status: int | None = None
    limited_apps: bool = True
    hidden: set[str] = field(default_factory=set)
    gone: dict[str, int] = field(default_factory=dict)
    per_minute: int = 1500
    signed_photos: bool = False
    lists_deactivated: bool = True
    epoch: int = 0
    oauth: AsanaOAuth = field(default_factory=AsanaOAuth)
    asked_at: list[float] = field(default_factory=list)
    next_number: int = 0
    page_size: int = MOST_PER_REQUEST
    service: str = "asana"
    origins: Sequence[str] = ("https://app.asana.com",)
    credentials: Mapping[str, Any] = field(default_factory=lambda: {"access_token": TOKEN})
    criteria: Mapping[str, Any] = field(default_factory=lambda: {"workspace": WORKSPACE})
    secrets: Sequence[str] = (TOKEN,)
    traffic: Traffic = field(init=False)

    def __post_init__(self) -> None:
        routes: list[tuple[str, Callable[[Request], Response]]] = [
            ("/users", self._users),
            ("/users/me", self._me),
            ("/workspaces", self._workspaces),
            ("/workspaces/{gid}/teams", self._teams),
            ("/workspaces/{gid}/workspace_memberships", self._memberships),
            ("/workspaces/{gid}/users", self._capped_users),
            ("/teams/{gid}/users", self._capped_users),
        ]
        self.traffic = Traffic(
            Starlette(
                routes=[
                    *(Route(API + path, self._guarded(answer)) for path, answer in routes),
                    *self.oauth.routes(),
                ]
            )
        )

    # The simulator's handles

    def add(self, email: str | None, *, name: str | None = None, places: Iterable[str] = ()) -> str:
        gid = str(FIRST_PERSON + self.next_number)
        self.next_number += 1
        self.people[gid] = Person(
            name=" ".join(name_of(email)) if name is None else name,
            email=email,
            places={WORKSPACE, *places},
            photo=f"https://s3.amazonaws.com/profile_photos/{gid}_128x128.png",
        )
        return gid

    def change(self, external_id: str) -> None:
        self.people[external_id].name += " Jr"

    def remove(self, external_id: str) -> None:
        del self.people[external_id]

    def matching(self) -> dict[str, str | None]:
        return {
            gid: None if gid in self.hidden else person.email
            for gid, person in self.people.items()
            if WORKSPACE in person.places and (person.active or self.lists_deactivated)
        }

    def expire_checkpoints(self) -> None:
        self.epoch += 1

    def revoke(self) -> None:
        self.oauth.forget()

    # Who asks

    def _guarded(self, answer: Callable[[Request], Response]) -> Callable[[Request], Response]:
        def guarded(request: Request) -> Response:
            token = request.headers.get("Authorization", "").removeprefix("Bearer ")
            if token not in self.oauth.tokens:
                return _error(401, "Not Authorized")
            now = time.monotonic()
            self.asked_at = [moment for moment in self.asked_at if moment > now - 60]
            if len(self.asked_at) >= self.per_minute:
                return _error(429, "You have made too many requests recently. Please, be chill.", {"Retry-After": "30"})
            self.asked_at.append(now)
            request.state.scopes = self.oauth.tokens[token]
            unknown = {*request.query_params} - {"workspace", "team", "limit", "offset", "opt_fields", "opt_pretty"}
            return _error(400, f"unknown parameters: {sorted(unknown)}") if unknown else answer(request)

        return guarded

    # The API

    def _me(self, request: Request) -> Response:
        if refused := _lacks(request, "users:read"):
            return refused
        person = Person(name="Olga Owner", email="olga@example.com", places={*self.workspaces})
        return JSONResponse({"data": self._user(ME, person, _fields(request))})

    def _users(self, request: Request) -> Response:
        if refused := _lacks(request, "users:read"):
            return refused
        place = request.query_params.get("team") or request.query_params.get("workspace")
        if ("team" in request.query_params) == ("workspace" in request.query_params):
            return _error(400, "You should specify one of workspace, team")
        if refused := self._absent(place):
            return refused
        if unknown := _fields(request) - USER_FIELDS:
            return _error(400, f"opt_fields: {sorted(unknown)}")
        people = [
            self._user(gid, person, _fields(request))
            for gid, person in self.people.items()
            if place in person.places and (person.active or self.lists_deactivated)
        ]
        return self._page(request, people)

    def _capped_users(self, request: Request) -> Response:
        place = request.path_params["gid"]
        if "limit" in request.query_params:
            return _error(400, "limit: unknown parameter")
        people = sorted((person.name, gid) for gid, person in self.people.items() if place in person.places)
        return JSONResponse(
            {"data": [{"gid": gid, "resource_type": "user", "name": name} for name, gid in people[:CAPPED]]}
        )

    def _workspaces(self, request: Request) -> Response:
        if refused := _lacks(request, "workspaces:read"):
            return refused
        found = [(gid, name) for gid, name in self.workspaces.items() if gid not in self.gone]
        return self._page(request, [{"gid": gid, "resource_type": "workspace", "name": name} for gid, name in found])

    def _teams(self, request: Request) -> Response:
        gid = request.path_params["gid"]
        if refused := _lacks(request, "teams:read") or self._absent(gid):
            return refused
        if gid == OTHER_WORKSPACE:
            return _error(403, "This workspace is not an organization")
        found = [(team, name) for team, (place, name) in self.teams.items() if place == gid and team not in self.gone]
        return self._page(request, [{"gid": team, "resource_type": "team", "name": name} for team, name in found])

    def _memberships(self, request: Request) -> Response:
        gid = request.path_params["gid"]
        if self.memberships_status is not None:
            return _error(self.memberships_status, "Refused")
        if self.limited_apps and (refused := _lacks(request, "default")):
            return refused
        if refused := self._absent(gid):
            return refused
        fields = _fields(request)
        if unknown := fields - MEMBERSHIP_FIELDS:
            return _error(400, f"opt_fields: {sorted(unknown)}")
        members = [
            {
                "gid": f"9{person_gid}",
                "resource_type": "workspace_membership",
                **({"user": {"gid": person_gid, "resource_type": "user"}} if "user" in fields else {}),
                **({"is_guest": person.guest} if "is_guest" in fields else {}),
                **({"is_active": person.active} if "is_active" in fields else {}),
            }
            for person_gid, person in self.people.items()
            if gid in person.places
        ]
        return self._page(request, members)

    def _absent(self, gid: str | None) -> Response | None:
        if gid in self.gone:
            return _error(self.gone[gid], "Not a recognized ID")
        return None if gid in {*self.workspaces, *self.teams} else _error(404, f"Unknown object: {gid}")

    def _user(self, gid: str, person: Person, fields: frozenset[str]) -> dict[str, Any]:
        # A compact record has a name and nothing else, unless something is asked for.
        user: dict[str, Any] = {"gid": gid, "resource_type": "user"}
        if not fields or "name" in fields:
            user["name"] = person.name
        if "email" in fields and gid not in self.hidden and person.email is not None:
            user["email"] = person.email
        if "photo.image_128x128" in fields:
            signature = f"?X-Amz-Signature={time.monotonic_ns()}" if self.signed_photos else ""
            user["photo"] = {"image_128x128": person.photo + signature} if person.photo else None
        if "workspaces.name" in fields:
            user["workspaces"] = [
                {"gid": place, "resource_type": "workspace", "name": name}
                for place, name in self.workspaces.items()
                if place in person.places
            ]
        return user

    def _page(self, request: Request, items: Sequence[dict[str, Any]]) -> Response:
        """Sorted by id. Offsets are for the listing that gave them, and for a while."""
        items = sorted(items, key=lambda item: int(item["gid"]))
        limit = request.query_params.get("limit", "")
        if not limit.isdigit() or not 1 <= int(limit) <= MOST_PER_REQUEST:
            return _error(400, "limit: must be between 1 and 100")
        asked = {name: value for name, value in request.query_params.items() if name != "offset"}
        listing = [request.url.path, sorted(asked.items()), self.epoch]
        start = 0
        if offset := request.query_params.get("offset"):
            given = _read_offset(offset)
            if given is None or given["listing"] != json.loads(json.dumps(listing)):
                return _error(400, "offset: Your pagination token has expired.")
            start = next((index for index, item in enumerate(items) if int(item["gid"]) >= given["next"]), len(items))
        end = start + min(int(limit), self.page_size)
        page, rest = items[start:end], items[end:]
        following = None
        if rest:
            token = _write_offset({"listing": listing, "next": int(rest[0]["gid"])})
            path = f"{request.url.path.removeprefix(API)}?{httpx.QueryParams({**asked, 'offset': token})}"
            following = {"offset": token, "path": path, "uri": f"https://app.asana.com{API}{path}"}
        return JSONResponse({"data": page, "next_page": following})


def _fields(request: Request) -> frozenset[str]:
    return frozenset(name for name in request.query_params.get("opt_fields", "").split(",") if name)


def _lacks(request: Request, scope: str) -> Response | None:
    scopes: frozenset[str] = request.state.scopes
    return None if scopes & {scope, "default"} else _error(403, f"Forbidden: this app lacks the scope {scope}")


def _error(status: int, message: str, headers: Mapping[str, str] | None = None) -> Response:
    help_text = "For more information on API status codes and how to handle them, read the docs on errors"
    return JSONResponse({"errors": [{"message": message, "help": help_text}]}, status, dict(headers or {}))


def _write_offset(position: Mapping[str, Any]) -> str:
    return urlsafe_b64encode(json.dumps(position).encode()).decode()


def _read_offset(offset: str) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = json.loads(urlsafe_b64decode(offset))
    except ValueError:
        return None
    return found


def make(people: int) -> AsanaApi:
    """Asana with so many people in its first workspace."""
    simulator = AsanaApi()
    for number in range(people):
        simulator.add(f"person-{number}@example.com")
    return simulator
