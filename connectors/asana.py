"""People of an Asana workspace, or of some of its teams.

* Change source: none: each cycle reads all users, 100 a request, and digests tell who changed. Who is a guest or was
  deactivated is told by the workspace's memberships alone, which are read first.
* Checkpoint: the listing under way and the offset of its next page. Asana forgets offsets after a while: the sweep
  then begins again, which is harmless.
* Deletions: absence from sweeps.

https://developers.asana.com/reference/getusers
https://developers.asana.com/reference/getworkspacemembershipsforworkspace
"""

from collections.abc import AsyncGenerator, Iterable, Iterator, Sequence
from typing import Annotated, Literal, Self

import httpx
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError

from connectors import http
from connectors.asana_api import MOST_PER_REQUEST, Listing, Single, check, everything, refusal, send
from connectors.asana_people import FIELDS, MEMBERSHIP_FIELDS, USER_FIELDS, Membership, User, to_record
from connectors.base import (
    Checkpoint,
    CheckpointExpiredError,
    Choice,
    ConnectorError,
    Page,
    Registration,
    RemoteAccount,
    Service,
    ServiceCategory,
    UnexpectedResponseError,
)
from connectors.oauth import Tokens, code_flow

Gid = Annotated[str, Field(pattern=r"^\w{1,64}$")]

NO_TEAMS = (402, 403, 404)
"""How Asana answers for a workspace that is no organization, has no teams in its plan, or does not show them."""


class Form(BaseModel):
    """What users can type instead of agreeing on Asana's page."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True, frozen=True, str_strip_whitespace=True)

    access_token: SecretStr = Field(
        title="Personal access token",
        description="Made in Asana's developer console (app.asana.com/0/my-apps). It sees what you see.",
        min_length=1,
    )


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
        True, title="Guests", description="Import people from outside who were invited to the workspace, too."
    )
    deactivated: bool = Field(
        False, title="Deactivated people", description="Import people who left or were deactivated, as far as shown."
    )


class State(BaseModel):
    """The checkpoint. `listing`: which one is read: None the memberships, then by number that of each team.

    `guests` and `inactive`: who is out of the ordinary, None where Asana does not tell.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: Literal[1] = 1
    workspace: Gid
    listing: int | None = None
    offset: str | None = None
    guests: tuple[str, ...] | None = ()
    inactive: tuple[str, ...] | None = ()

    @classmethod
    def of(cls, checkpoint: Checkpoint) -> Self:
        """Read a checkpoint; what another version of this connector left has expired."""
        try:
            return cls.model_validate({"version": None, **checkpoint})
        except ValidationError:
            raise CheckpointExpiredError("the checkpoint is from another version") from None

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
        state = State(workspace=await self._workspace()) if checkpoint is None else State.of(checkpoint)
        start = State(workspace=state.workspace)
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
                fields={spec.key: spec for spec in FIELDS if any(spec.key in record.values for record in records)},
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

    async def _workspace(self) -> str:
        """The one that was chosen, else the only one there is."""
        if self._criteria.workspace is not None:
            return self._criteria.workspace
        workspaces = await everything(self._client, self._token, "/workspaces")
        if len(workspaces) != 1:
            raise UnexpectedResponseError(f"This login has {len(workspaces)} workspaces: choose one.")
        return workspaces[0].gid

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
                guests=(*(state.guests or ()), *_gids(member for member in members.data if member.is_guest)),
                inactive=(
                    *(state.inactive or ()),
                    *_gids(member for member in members.data if member.is_active is False),
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
        if state.listing is None and response.status_code in {402, 403} and self._criteria.guests:
            return [], state.moved(listing=0, offset=None, guests=None, inactive=None)
        raise await self._refusal(state, response)

    async def _refusal(self, state: State, response: httpx.Response) -> ConnectorError:
        """What a refusal means: something chosen is gone, or the login may not read it."""
        if response.status_code not in {403, 404}:
            return refusal(response)
        visible = await everything(self._client, self._token, "/workspaces")
        if state.workspace not in {workspace.gid for workspace in visible}:
            return UnexpectedResponseError(
                f"The workspace {state.workspace} does not exist any more, or this login has left it: choose another."
            )
        if state.listing is None:
            return UnexpectedResponseError(
                "Asana does not tell this login who is a guest: connect with a personal access token, "
                "or import guests, too."
            )
        if self._criteria.teams:
            team = self._criteria.teams[state.listing]
            return UnexpectedResponseError(
                f"The team {team} does not exist any more, or this login cannot see it: choose other teams."
            )
        return refusal(response)

    def _wants(self, user: User, state: State) -> bool:
        is_stranger = user.gid in (state.guests or ()) and not self._criteria.guests
        has_left = user.gid in (state.inactive or ()) and not self._criteria.deactivated
        return not is_stranger and not has_left


def _gids(members: Iterable[Membership]) -> Iterator[str]:
    return (member.user.gid for member in members if member.user is not None)


def connect(client: httpx.AsyncClient, credentials: Tokens, criteria: Criteria) -> Asana:
    """Make the connector for one automatic import."""
    return Asana(client, credentials, criteria)


async def identify(client: httpx.AsyncClient, credentials: Tokens) -> RemoteAccount:
    """Check the credentials: the user they belong to."""
    response = await send(client, credentials.access_token, "/users/me", opt_fields="name,email")
    user = http.parse(check(response), Single[User]).data
    return RemoteAccount(identity=user.gid, label=user.email or user.name or user.gid)


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
            client, credentials.access_token, f"/workspaces/{place.gid}/teams", unless=NO_TEAMS
        ):
            label = f"{team.name or team.gid} ({place.name or place.gid})" if len(workspaces) > 1 else team.name
            offered.append(Choice(value=team.gid, label=label or team.gid))
    return offered


async def revoke(client: httpx.AsyncClient, registration: Registration | None, credentials: Tokens) -> None:
    """Give the refresh token back; a personal access token can only be deleted by its owner, at Asana.

    https://developers.asana.com/docs/oauth#token-deauthorization-endpoint
    """
    if registration is None or credentials.refresh_token is None:
        return
    await http.request(
        client,
        "POST",
        "https://app.asana.com/-/oauth_revoke",
        data={
            "client_id": registration.client_id,
            "client_secret": registration.client_secret.get_secret_value(),
            "token": credentials.refresh_token.get_secret_value(),
        },
    )


SERVICE = Service(
    key="asana",
    name="Asana",
    category=ServiceCategory.PROJECT_MANAGEMENT,
    documentation_url="https://developers.asana.com/docs",
    credentials=Tokens,
    form=Form,
    authorization=code_flow(
        authorize_url="https://app.asana.com/-/oauth_authorize",
        token_url="https://app.asana.com/-/oauth_token",  # noqa: S106  no password
        scope="users:read workspaces:read teams:read",
    ),
    criteria=Criteria,
    fields=FIELDS,
    connect=connect,
    identify=identify,
    choices=choices,
    revoke=revoke,
)
