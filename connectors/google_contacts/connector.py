"""The contacts of a Google account, over the People API.

* Change source: sync tokens. Google forgets one 7 days after the full reading that it descends from; then everything
  is read once more.
* Checkpoint: the sync token, and while a pass is under way its next page. Where Google has forgotten that page the
  pass begins again, which changes nothing twice.
* Deletions: tombstones, handed on with the last page of a pass. A contact keeps its id where its person gets another
  resource name (`previousResourceNames`), so the tombstone of the old name is nobody's deletion.
* Criteria: Google filters nothing, groups are compared here. A sweep would miss somebody who left them like somebody
  deleted; so a full reading of chosen groups is not called a sweep, and tombstones alone are deletions (R16).

"Other contacts", whom Google collects from mail by itself, are not read.

https://developers.google.com/people/api/rest/v1/people.connections/list
"""

import hashlib
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Annotated, Literal, Self
from urllib.parse import urlencode

import httpx
from pydantic import BaseModel, ConfigDict, Field, model_validator

from connectors import http
from connectors.base import (
    Checkpoint,
    CheckpointExpiredError,
    Choice,
    Page,
    Registration,
    RemoteAccount,
    Service,
    ServiceCategory,
    UnexpectedResponseError,
    restore,
)
from connectors.google_contacts import api
from connectors.google_contacts.records import FIELDS, PERSON_FIELDS, Answered, Person, field_spec, text_of, to_record
from connectors.oauth import Tokens, code_flow

REVOKE = "https://oauth2.googleapis.com/revoke"
SCOPES = (
    "openid",
    "https://www.googleapis.com/auth/userinfo.email",
    "https://www.googleapis.com/auth/contacts.readonly",
)

PARAMETERS = {
    "personFields": ",".join(PERSON_FIELDS),
    "sources": "READ_SOURCE_TYPE_CONTACT",
    "pageSize": "500",
    "requestSyncToken": "true",
}
"""The same for every page, and for every pass from a sync token on: else Google refuses the token."""
MASK = hashlib.blake2b(urlencode(PARAMETERS).encode(), digest_size=8).hexdigest()

MOST_RENAMED = 1000
"""People whose new resource names are remembered from pass to pass."""

OFFERED_SYSTEM_GROUPS = frozenset({"contactGroups/myContacts", "contactGroups/starred"})
"""The only groups of the system that people still put contacts into."""

GroupName = Annotated[str, Field(pattern=r"^contactGroups/[^/\s]{1,200}$")]


class Criteria(BaseModel):
    """Which contacts to import."""

    model_config = ConfigDict(extra="forbid")

    groups: list[GroupName] = Field(
        default=[],
        max_length=100,
        title="Labels",
        description="Import contacts that have at least one of these labels; all contacts if left empty.",
    )


class State(BaseModel):
    """The checkpoint. Without a sync token everybody is being read.

    `pages` and `people` count what the pass under way has read. `gone`: its tombstones, ids by resource name, but of
    those who came back. `renamed`: who got another resource name, the latest last: the name by id, kept for later
    passes too, which may bring the old name's tombstone.
    """

    model_config = ConfigDict(frozen=True)

    version: Literal[1] = 1
    mask: str
    sync_token: str | None = None
    page_token: str | None = None
    pages: int = 0
    people: int = 0
    gone: Mapping[str, str] = {}
    renamed: Mapping[str, str] = {}

    @classmethod
    def of(cls, checkpoint: Checkpoint | None) -> Self:
        """Read a checkpoint, which has expired too where it is of other fields: they would never be read."""
        state = cls(mask=MASK) if checkpoint is None else restore(cls, checkpoint)
        if state.mask != MASK:
            raise CheckpointExpiredError("the checkpoint is from a version that asked for other fields")
        return state

    def begun_again(self) -> Self:
        """The pass under way, from its first page."""
        return type(self)(mask=self.mask, sync_token=self.sync_token, renamed=self.renamed)


class Connections(Answered):
    """A page of the account's contacts, or of those that changed."""

    connections: tuple[Person, ...] = ()
    next_page_token: str | None = None
    next_sync_token: str | None = None
    total_items: int | None = None

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        if not self.model_fields_set:
            raise ValueError("has nothing of a page of contacts")
        return self


class GoogleContacts:
    """Reads the contacts of one Google account, or those with some labels."""

    def __init__(self, client: httpx.AsyncClient, credentials: Tokens, criteria: Criteria) -> None:
        self._client = client
        self._credentials = credentials
        self._groups = frozenset(criteria.groups)

    async def pages(self, checkpoint: Checkpoint | None) -> AsyncGenerator[Page, None]:
        """Yield changed contacts, at most 500 a page. `remaining` is told where everybody is read."""
        state = State.of(checkpoint)
        await self._check_groups()
        answer = await self._ask(state)
        if answer.status_code == 400 and state.page_token:
            state = state.begun_again()
            answer = await self._ask(state)
        while True:
            page, state = self._page(state, api.read(answer, Connections))
            yield page
            if not state.page_token:
                return
            answer = await self._ask(state)

    async def _check_groups(self) -> None:
        if not self._groups:
            return
        existing = {group.resource_name async for group in api.groups(self._client, self._credentials)}
        if not self._groups & existing:
            raise UnexpectedResponseError("None of the chosen labels exists: choose others.")

    async def _ask(self, state: State) -> httpx.Response:
        tokens = {"syncToken": state.sync_token, "pageToken": state.page_token}
        given = {name: token for name, token in tokens.items() if token}
        return await api.send(self._client, self._credentials, "people/me/connections", {**PARAMETERS, **given})

    def _page(self, state: State, answer: Connections) -> tuple[Page, State]:
        """The page that an answer is, and the state behind it."""
        following = api.next_token(state.page_token, answer.next_page_token)
        living = [person for person in answer.connections if not person.metadata.deleted]
        records = [to_record(person) for person in living if not self._groups or self._groups & person.groups]
        gone, renamed = _gone(state.gone, answer.connections), _renamed(state.renamed, living)
        people = state.people + len(answer.connections)
        sweeps = state.sync_token is None and not self._groups
        after = State(
            mask=MASK,
            sync_token=answer.next_sync_token or state.sync_token,
            renamed=dict([*renamed.items()][-MOST_RENAMED:]),
        )
        if following:
            if state.pages == api.MOST_PAGES:
                raise UnexpectedResponseError(f"Google gave more than {api.MOST_PAGES} pages.")
            after = State(
                mask=MASK,
                sync_token=state.sync_token,
                page_token=following,
                pages=state.pages + 1,
                people=people,
                gone=gone,
                renamed=renamed,
            )
        page = Page(
            records=records,
            fields={key: field_spec(key) for record in records for key in record.values},
            deleted_ids=[] if following else _deleted(gone, renamed),
            checkpoint=after.model_dump(mode="json"),
            sweep=sweeps,
            complete=sweeps and not following,
            remaining=_remaining(answer.total_items, people, following) if sweeps else None,
        )
        return page, after


def _gone(before: Mapping[str, str], people: Sequence[Person]) -> dict[str, str]:
    """The tombstones there are once these people are read: somebody may be restored while a pass is read."""
    back = {person.resource_name for person in people if not person.metadata.deleted}
    left = {name: contact_id for name, contact_id in before.items() if name not in back}
    return {**left, **{person.resource_name: person.contact_id for person in people if person.metadata.deleted}}


def _renamed(before: Mapping[str, str], living: Sequence[Person]) -> dict[str, str]:
    """The resource names of those who had another one, these people's as the latest."""
    names = {
        person.contact_id: person.resource_name
        for person in living
        if person.metadata.previous_resource_names or person.contact_id in before
    }
    return {**{contact_id: name for contact_id, name in before.items() if contact_id not in names}, **names}


def _deleted(gone: Mapping[str, str], renamed: Mapping[str, str]) -> list[str]:
    """The contacts whose tombstones are no old name's of somebody who is still there."""
    return sorted({contact_id for name, contact_id in gone.items() if renamed.get(contact_id, name) == name})


def _remaining(total: int | None, people: int, following: str) -> int | None:
    if not following:
        return 0
    return None if total is None else max(total - people, 0)


def connect(client: httpx.AsyncClient, credentials: Tokens, criteria: Criteria) -> GoogleContacts:
    """Make the connector for one automatic import."""
    return GoogleContacts(client, credentials, criteria)


async def identify(client: httpx.AsyncClient, credentials: Tokens) -> RemoteAccount:
    """Check the credentials, and that the user let us see the contacts: each permission can be refused."""
    parameters = {"personFields": "emailAddresses,metadata", "sources": "READ_SOURCE_TYPE_PROFILE"}
    me = await api.get(client, credentials, "people/me", parameters, Person)
    await api.get(client, credentials, "contactGroups", {"pageSize": "1"}, api.Groups)
    return RemoteAccount(identity=me.resource_name, label=text_of(me.email_addresses) or me.resource_name)


async def choices(client: httpx.AsyncClient, credentials: Tokens, criterion: str) -> Sequence[Choice]:
    """Offer the account's labels, its contacts at large, and those with a star."""
    if criterion != "groups":
        return []
    return [
        Choice(value=group.resource_name, label=group.formatted_name or group.name or group.resource_name)
        async for group in api.groups(client, credentials)
        if group.group_type == "USER_CONTACT_GROUP" or group.resource_name in OFFERED_SYSTEM_GROUPS
    ]


async def revoke(client: httpx.AsyncClient, registration: Registration | None, credentials: Tokens) -> None:
    """Give the access back. https://developers.google.com/identity/protocols/oauth2/web-server#tokenrevoke"""
    token = credentials.refresh_token or credentials.access_token
    response = await http.send(client, "POST", REVOKE, data={"token": token.get_secret_value()})
    # 400 says that it had been given back, or had ended by itself.
    if response.status_code != 400:
        http.check(response)


SERVICE = Service(
    key="google_contacts",
    name="Google Contacts",
    category=ServiceCategory.ADDRESS_BOOK,
    documentation_url="https://developers.google.com/people",
    credentials=Tokens,
    authorization=code_flow(
        authorize_url="https://accounts.google.com/o/oauth2/v2/auth",
        token_url="https://oauth2.googleapis.com/token",  # noqa: S106  an address, no secret
        scope=" ".join(SCOPES),
        # Without both, Google gives a refresh token to the first consent alone, or to none.
        parameters={"access_type": "offline", "prompt": "consent"},
    ),
    criteria=Criteria,
    fields=FIELDS,
    connect=connect,
    identify=identify,
    choices=choices,
    revoke=revoke,
    tells_deletions=True,
)
