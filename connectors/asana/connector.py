"""People of an Asana workspace, or of some of its teams.

* Change source: none: each cycle reads all users, 100 a request, and digests tell who changed. Who is a guest or was
  deactivated is told by the workspace's memberships alone, which are read first.
* Checkpoint: the listing under way and the offset of its next page. Asana forgets offsets after a while: the sweep
  then begins again, which is harmless.
* Deletions: absence from sweeps.

https://developers.asana.com/reference/getusers
https://developers.asana.com/reference/getworkspacemembershipsforworkspace
"""

from collections.abc import AsyncGenerator, Iterable, Sequence
from typing import Annotated, Literal, Self

import httpx
from pydantic import BaseModel, ConfigDict, Field

from connectors import http
from connectors.asana.api import MOST_PER_REQUEST, Listing, everything, refusal, send
from connectors.asana.login import AUTHORIZATION, Form, identify, revoke
from connectors.asana.people import FIELDS, MEMBERSHIP_FIELDS, SPECS, USER_FIELDS, Membership, User, to_record
from connectors.base import (
    Checkpoint,
    Choice,
    ConnectorError,
    Page,
    Service,
    ServiceCategory,
    UnexpectedResponseError,
    restore,
)
from connectors.oauth import Tokens

Gid = Annotated[str, Field(pattern=r"^\w{1,64}$")]

REFUSED = (402, 403, 404)
"""How Asana answers for what is gone, what a plan does not have (teams), and what it does not show to a login."""

MOST_KEPT = 500
"""Of guests, and of deactivated people, where nobody is left out: each checkpoint holds them all."""


class Criteria(BaseModel):
    """Whom to import."""

    model_config = ConfigDict(extra="forbid")

    workspace: Gid | None = Field(
        None, title="Workspace", description="Needed where the login has several; the only one otherwise."
    )
    teams: tuple[Gid, ...] = Field(
        (), max_length=50, title="Teams", description="Members of these teams only; everybody if left empty."
    )
    guests: bool = Field(
        True,
        title="Guests",
        description="Import people from outside who were invited to the workspace, too. "
        "Leaving them out needs a personal access token: apps are not told who is a guest.",
    )
    deactivated: bool = Field(
        True,
        title="Deactivated people",
        description="Import people who left or were deactivated, too, as far as Asana lists them. "
        "Leaving them out needs a personal access token: apps are not told who was deactivated.",
    )


class State(BaseModel):
    """The checkpoint. `listing`: which one is read: None the memberships, then by number that of each team.

    `guests` and `inactive`: who is out of the ordinary, None where Asana does not tell, or where they are too many.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: Literal[1]
    workspace: Gid
    listing: int | None = None
    offset: str | None = None
    guests: tuple[str, ...] | None = ()
    inactive: tuple[str, ...] | None = ()

    def moved(self, **changes: object) -> Self:
        """The same, further on."""
        return self.model_copy(update=changes)


class Asana:
    """Reads one workspace of one login."""

    def __init__(self, client: httpx.AsyncClient, credentials: Tokens, criteria: Criteria) -> None:
        self._client = client
        self._token = credentials.access_token
        self._criteria = criteria

    async def pages(self, checkpoint: Checkpoint | None) -> AsyncGenerator[Page, None]:
        """Yield everybody who matches, at most 100 a page. A page of memberships has no records."""
        state = await self._start() if checkpoint is None else restore(State, checkpoint)
        start = State(version=1, workspace=state.workspace)
        if state == start:
            await self._check_teams(state)
        asked = {(state.listing, state.offset)}
        found: set[str] = set()
        is_again = False
        while True:
            response = await self._ask(state)
            if response.status_code == 400 and state.offset is not None and not is_again:
                # The request was good without the offset: Asana has forgotten it.
                state, asked, found, is_again = start, {(None, None)}, set(), True
                continue
            users, following = await self._read(state, response)
            records = [
                to_record(user, guests=state.guests, inactive=state.inactive)
                for user in users
                if user.gid not in found and self._wants(user, state)
            ]
            found |= {user.gid for user in users}
            yield Page(
                records=records,
                fields=SPECS,
                checkpoint=(following or start).model_dump(mode="json"),
                sweep=True,
                complete=following is None,
            )
            if following is None:
                return
            state = following
            if (state.listing, state.offset) in asked:
                raise UnexpectedResponseError("Asana sends the same page again and again.")
            asked.add((state.listing, state.offset))

    async def _start(self) -> State:
        """In the workspace that was chosen, else in the only one there is."""
        if self._criteria.workspace is not None:
            return State(version=1, workspace=self._criteria.workspace)
        workspaces = await everything(self._client, self._token, "/workspaces")
        if len(workspaces) != 1:
            raise UnexpectedResponseError(f"This login has {len(workspaces)} workspaces: choose one.")
        return State(version=1, workspace=workspaces[0].gid)

    async def _check_teams(self, state: State) -> None:
        """Those of another workspace have guests and deactivated people of their own."""
        if not self._criteria.teams:
            return
        path = f"/workspaces/{state.workspace}/teams"
        there = {team.gid for team in await everything(self._client, self._token, path, unless=REFUSED)}
        if missing := [team for team in self._criteria.teams if team not in there]:
            await self._check_workspace(state)
            raise _no_team(state, missing[0])

    async def _ask(self, state: State) -> httpx.Response:
        limit = str(MOST_PER_REQUEST)
        if state.listing is None:
            path = f"/workspaces/{state.workspace}/workspace_memberships"
            fields = MEMBERSHIP_FIELDS
            return await send(self._client, self._token, path, limit=limit, offset=state.offset, opt_fields=fields)
        # Not the listings below /workspaces and /teams: those end after 2000 people, without a word.
        chosen = self._criteria.teams
        place = {"team": chosen[state.listing]} if state.listing < len(chosen) else {"workspace": state.workspace}
        return await send(
            self._client, self._token, "/users", **place, limit=limit, offset=state.offset, opt_fields=USER_FIELDS
        )

    async def _read(self, state: State, response: httpx.Response) -> tuple[Sequence[User], State | None]:
        """The users of an answer, and what is to be read next; None at the end."""
        if not response.is_success:
            return await self._go_on_without(state, response)
        if state.listing is None:
            members = http.parse(response, Listing[Membership])
            known = state.moved(
                offset=members.offset,
                guests=_kept(
                    state.guests,
                    (member for member in members.data if member.is_guest),
                    is_needed=not self._criteria.guests,
                ),
                inactive=_kept(
                    state.inactive,
                    (member for member in members.data if member.is_active is False),
                    is_needed=not self._criteria.deactivated,
                ),
            )
            return [], known if members.offset else known.moved(listing=0)
        users = http.parse(response, Listing[User])
        if users.offset:
            return users.data, state.moved(offset=users.offset)
        is_last = state.listing + 1 >= len(self._criteria.teams)
        return users.data, None if is_last else state.moved(listing=state.listing + 1, offset=None)

    async def _go_on_without(self, state: State, response: httpx.Response) -> tuple[Sequence[User], State]:
        # No scope opens the memberships to apps that do not ask for everything: who is a guest stays unknown.
        if state.listing is not None or response.status_code not in REFUSED:
            raise await self._refusal(state, response)
        if self._criteria.guests and self._criteria.deactivated:
            return [], state.moved(listing=0, offset=None, guests=None, inactive=None)
        await self._check_workspace(state)
        raise UnexpectedResponseError(
            "Asana does not tell this login who is a guest or was deactivated: connect with a personal access token, "
            "or import guests and deactivated people, too."
        )

    async def _refusal(self, state: State, response: httpx.Response) -> ConnectorError:
        """What a refusal means: something chosen is gone, or the login may not read it."""
        if response.status_code not in {403, 404}:
            return refusal(response)
        await self._check_workspace(state)
        teams = self._criteria.teams
        return _no_team(state, teams[state.listing]) if teams and state.listing is not None else refusal(response)

    async def _check_workspace(self, state: State) -> None:
        visible = await everything(self._client, self._token, "/workspaces")
        if state.workspace not in {workspace.gid for workspace in visible}:
            raise UnexpectedResponseError(
                f"The workspace {state.workspace} does not exist, or this login is not in it: choose another."
            )

    def _wants(self, user: User, state: State) -> bool:
        is_stranger = user.gid in (state.guests or ()) and not self._criteria.guests
        has_left = user.gid in (state.inactive or ()) and not self._criteria.deactivated
        return not is_stranger and not has_left


def _kept(known: tuple[str, ...] | None, more: Iterable[Membership], *, is_needed: bool) -> tuple[str, ...] | None:
    """All of them so far; None once they are too many, unless somebody is left out by them."""
    if known is None:
        return None
    found = (*known, *(member.user.gid for member in more if member.user is not None))
    return found if is_needed or len(found) <= MOST_KEPT else None


def _no_team(state: State, team: str) -> UnexpectedResponseError:
    return UnexpectedResponseError(
        f"The workspace {state.workspace} has no team {team} that this login can see: choose other teams."
    )


def connect(client: httpx.AsyncClient, credentials: Tokens, criteria: Criteria) -> Asana:
    """Make the connector for one automatic import."""
    return Asana(client, credentials, criteria)


async def choices(client: httpx.AsyncClient, credentials: Tokens, criterion: str) -> Sequence[Choice]:
    """Offer the login's workspaces, or the teams of all of them."""
    if criterion not in {"workspace", "teams"}:
        return []
    workspaces = await everything(client, credentials.access_token, "/workspaces")
    if criterion == "workspace":
        return [Choice(value=place.gid, label=place.name or place.gid) for place in workspaces]
    offered = []
    for place in workspaces:
        for team in await everything(
            client, credentials.access_token, f"/workspaces/{place.gid}/teams", unless=REFUSED
        ):
            label = f"{team.name or team.gid} ({place.name or place.gid})" if len(workspaces) > 1 else team.name
            offered.append(Choice(value=team.gid, label=label or team.gid))
    return offered


SERVICE = Service(
    key="asana",
    name="Asana",
    category=ServiceCategory.PROJECT_MANAGEMENT,
    documentation_url="https://developers.asana.com/docs",
    credentials=Tokens,
    form=Form,
    authorization=AUTHORIZATION,
    criteria=Criteria,
    fields=FIELDS,
    connect=connect,
    identify=identify,
    choices=choices,
    revoke=revoke,
)
