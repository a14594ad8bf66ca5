"""Members of Trello's workspaces and boards.

* Change source: none, and no listing has pages: each cycle reads all memberships, ten listings in one request, and
  digests tell who changed. Members are never read one by one: Trello allows 100 such requests in 15 minutes.
* Checkpoint: the last member stored, by id; to go on, the memberships are read again. And the workspaces that were
  read: one that the login has left since is no reason to take its members for deleted.
* Deletions: absence from sweeps.

https://developer.atlassian.com/cloud/trello/rest/api-group-organizations/
https://developer.atlassian.com/cloud/trello/rest/api-group-boards/
"""

from collections import defaultdict
from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import httpx
from pydantic import BaseModel, ConfigDict, Field

from connectors import http
from connectors.base import (
    MAX_PAGE_RECORDS,
    Checkpoint,
    Choice,
    Page,
    Service,
    ServiceCategory,
    UnexpectedResponseError,
    restore,
)
from connectors.trello.api import MOST_PER_BATCH, Credentials, check, get, get_all
from connectors.trello.people import FIELDS, MEMBER_FIELDS, SPECS, Membership, Person
from connectors.trello.token import AUTHORIZATION, identify, revoke

Id = Annotated[str, Field(pattern=r"^[0-9a-fA-F]{24}$")]

MOST_LISTINGS = 80
"""In one pass: a token may make 100 requests in 10 seconds, and each listing of a batch may count beside the batch."""

REFUSED = (401, 403, 404)
"""How Trello answers for what is gone, or not shared: within a batch, whose own status is that of the token."""

NOTICE = (
    "Trello shows e-mail addresses only for yourself and for people whose accounts your organization manages. "
    "Members without a visible address are read but skipped (NO_EMAIL). "
    f"One import reads at most {MOST_LISTINGS} workspaces and boards."
)


class Criteria(BaseModel):
    """Whom to import."""

    model_config = ConfigDict(extra="forbid")

    workspaces: tuple[Id, ...] = Field(
        (),
        max_length=40,
        title="Workspaces",
        description="Import their members. All workspaces if neither workspaces nor boards are chosen.",
    )
    boards: tuple[Id, ...] = Field(
        (), max_length=40, title="Boards", description="Import their members, guests of the workspace included."
    )
    deactivated: bool = Field(False, title="Deactivated members", description="Import people who were deactivated.")


class State(BaseModel):
    """The checkpoint: members up to the id `after` are stored. `workspaces` were read."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: Literal[1]
    after: str = ""
    workspaces: tuple[Id, ...] = ()


class Workspace(BaseModel):
    """A workspace, `organization` in the API."""

    id: Id
    displayName: str | None = None  # noqa: N815  Trello's name
    name: str | None = None

    @property
    def title(self) -> str:
        """What its members call it."""
        return self.displayName or self.name or self.id


class Board(BaseModel):
    """A board, of a workspace or of nobody but its members."""

    id: Id
    name: str | None = None
    idOrganization: str | None = None  # noqa: N815

    @property
    def title(self) -> str:
        """What its members call it."""
        return self.name or self.id


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A workspace or a board whose memberships are read. `is_wanted`: its members are to be imported."""

    kind: Literal["workspace", "board"]
    id: str
    title: str
    is_wanted: bool = True

    @property
    def path(self) -> str:
        """The listing of its memberships."""
        collection = "organizations" if self.kind == "workspace" else "boards"
        shown = {"member": "true", "member_fields": MEMBER_FIELDS} if self.is_wanted else {"member": "false"}
        return f"/{collection}/{self.id}/memberships?{httpx.QueryParams(shown)}"


class Trello:
    """Reads the workspaces and boards of one login, or some of them."""

    def __init__(self, client: httpx.AsyncClient, credentials: Credentials, criteria: Criteria) -> None:
        self._client = client
        self._credentials = credentials
        self._criteria = criteria

    async def pages(self, checkpoint: Checkpoint | None) -> AsyncGenerator[Page, None]:
        """Yield the members in the order of their ids, at most 500 a page."""
        state = State(version=1) if checkpoint is None else restore(State, checkpoint)
        places, lists_all_boards = await self._places(state.workspaces)
        people, knows_boards = await self._people(places)
        workspaces = tuple(place.id for place in places if place.kind == "workspace")
        left = [
            person.record(external_id, knows_boards=lists_all_boards and knows_boards)
            for external_id, person in sorted(people.items())
            if external_id > state.after and (person.is_active or self._criteria.deactivated)
        ]
        for start in range(0, len(left) or 1, MAX_PAGE_RECORDS):
            records, remaining = left[start : start + MAX_PAGE_RECORDS], max(len(left) - start - MAX_PAGE_RECORDS, 0)
            after = records[-1].external_id if remaining else ""
            yield Page(
                records=records,
                fields=SPECS,
                checkpoint=State(version=1, after=after, workspaces=workspaces).model_dump(mode="json"),
                sweep=True,
                complete=remaining == 0,
                remaining=remaining,
            )

    async def _places(self, known: Collection[str]) -> tuple[Sequence[Place], bool]:
        """Whose memberships to read, and whether all boards are among them: those alone tell who is on which.

        `known`: the workspaces that were read before, all of which must be there.
        """
        workspaces = await _workspaces(self._client, self._credentials)
        boards = await _boards(self._client, self._credentials)
        chosen = {*self._criteria.workspaces, *self._criteria.boards}
        if missing := sorted(chosen - {each.id for each in workspaces} - {each.id for each in boards}):
            raise _gone("workspace" if missing[0] in self._criteria.workspaces else "board", missing[0])
        if left := sorted({*known} - {each.id for each in workspaces}):
            raise UnexpectedResponseError(
                f"The workspace {left[0]} was closed or deleted, or is no longer shared with this login: "
                "choose the workspaces to import from."
            )
        wanted = chosen or {each.id for each in workspaces}
        if not wanted:
            raise UnexpectedResponseError("This login has no workspace: choose the boards to import from.")
        places = [Place(kind="workspace", id=each.id, title=each.title) for each in workspaces if each.id in wanted]
        places += [Place(kind="board", id=each.id, title=each.title) for each in boards if each.id in wanted]
        if len(places) > MOST_LISTINGS:
            raise UnexpectedResponseError(f"This login has {len(places)} workspaces: choose at most 40 of them.")
        others = [
            Place(kind="board", id=each.id, title=each.title, is_wanted=False)
            for each in boards
            if each.id not in wanted and each.idOrganization in wanted
        ]
        knows_boards = len(places) + len(others) <= MOST_LISTINGS
        return [*places, *(others if knows_boards else ())], knows_boards

    async def _people(self, places: Sequence[Place]) -> tuple[Mapping[str, Person], bool]:
        """Everybody in the places that are wanted, by id, and whether all of the other places were shown, too."""
        people: dict[str, Person] = defaultdict(Person)
        shows_all = True
        for start in range(0, len(places), MOST_PER_BATCH):
            some = places[start : start + MOST_PER_BATCH]
            answers = await get_all(self._client, self._credentials, [place.path for place in some])
            for place, answer in zip(some, answers, strict=True):
                memberships = _memberships(place, answer)
                shows_all &= memberships is not None
                for membership in memberships or ():
                    person = people[membership.idMember]
                    (person.workspaces if place.kind == "workspace" else person.boards).add(place.title)
                    if place.is_wanted:
                        person.memberships.append(membership)
        return {external_id: person for external_id, person in people.items() if person.memberships}, shows_all


def _memberships(place: Place, answer: httpx.Response) -> Sequence[Membership] | None:
    """None where they are not shown."""
    if answer.status_code not in REFUSED:
        return http.parse(check(answer), list[Membership])
    if place.is_wanted:
        raise _gone(place.kind, place.id)
    return None


def _gone(kind: str, id_: str) -> UnexpectedResponseError:
    return UnexpectedResponseError(
        f"The {kind} {id_} was closed or deleted, or is no longer shared with this login: choose others."
    )


async def _workspaces(client: httpx.AsyncClient, credentials: Credentials) -> Sequence[Workspace]:
    shown = {"fields": "id,name,displayName"}
    return http.parse(await get(client, credentials, "/members/me/organizations", shown), list[Workspace])


async def _boards(client: httpx.AsyncClient, credentials: Credentials) -> Sequence[Board]:
    shown = {"filter": "open", "fields": "id,name,idOrganization"}
    return http.parse(await get(client, credentials, "/members/me/boards", shown), list[Board])


def connect(client: httpx.AsyncClient, credentials: Credentials, criteria: Criteria) -> Trello:
    """Make the connector for one automatic import."""
    return Trello(client, credentials, criteria)


async def choices(client: httpx.AsyncClient, credentials: Credentials, criterion: str) -> Sequence[Choice]:
    """Offer the login's workspaces, or its open boards."""
    match criterion:
        case "workspaces":
            return [Choice(value=each.id, label=each.title) for each in await _workspaces(client, credentials)]
        case "boards":
            titles = {each.id: each.title for each in await _workspaces(client, credentials)}
            return [
                Choice(value=each.id, label=f"{each.title} ({titles.get(each.idOrganization or '', 'no workspace')})")
                for each in await _boards(client, credentials)
            ]
        case _:
            return []


SERVICE = Service(
    key="trello",
    name="Trello",
    category=ServiceCategory.PROJECT_MANAGEMENT,
    documentation_url="https://developer.atlassian.com/cloud/trello/rest/",
    credentials=Credentials,
    form=Credentials,
    authorization=AUTHORIZATION,
    criteria=Criteria,
    fields=FIELDS,
    connect=connect,
    identify=identify,
    choices=choices,
    revoke=revoke,
    notice=NOTICE,
)
