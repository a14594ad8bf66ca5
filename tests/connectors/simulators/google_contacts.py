"""Google's People API and OAuth endpoints, with one account's contacts: as strict as Google, with its habits.

https://developers.google.com/people/api/rest, https://developers.google.com/identity/protocols/oauth2/web-server
"""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.connectors.simulators.google_answers import (
    Refused,
    digest,
    expired_sync_token,
    field_mask,
    invalid,
    item,
    membership,
    page_size,
    parameters,
    read_token,
    secondary,
    source_types,
    stamped,
    token,
)
from tests.connectors.simulators.google_oauth import (
    ACCESS_TOKEN,
    CONTACTS_SCOPE,
    EMAIL_SCOPE,
    REFRESH_TOKEN,
    GoogleOAuth,
)
from tests.connectors.simulators.kit import Traffic, name_of

ORIGINS = ("https://people.googleapis.com", "https://accounts.google.com", "https://oauth2.googleapis.com")
ACCOUNT_ID, ACCOUNT_EMAIL = "104892345678901234567", "owner@example.com"
SYSTEM_GROUPS = {
    "contactGroups/myContacts": "My Contacts",
    "contactGroups/starred": "Starred",
    "contactGroups/friends": "Friends",
    "contactGroups/blocked": "Blocked",
    "contactGroups/chatBuddies": "Chat contacts",
}


@dataclass(slots=True, kw_only=True)
class Contact:
    """A contact: its person's parts as JSON, when it changed last, and the names its person had."""

    parts: dict[str, Any]
    groups: set[str] = field(default_factory=lambda: {"contactGroups/myContacts"})
    resource_name: str
    previous_names: list[str] = field(default_factory=list)
    changed_at: int = 0
    deleted: bool = False
    profile_email: str | None = None


@dataclass(slots=True, kw_only=True)
class GoogleContacts:
    """The simulator; contacts by the id they have in the account's contacts.

    Switches: `expiry` is the answer to a sync token that is too old. `shuffles` the items of every field.
    `bare_tombstones` have no metadata but `deleted`. `names_leave_tombstones`: a person's old resource name is listed
    as deleted. `lags`: what is written shows only after `settle`. `sync_tokens`: given at all. `counts`: totals are
    given. `enabled`: the People API is, in the client's project.
    """

    contacts: dict[str, Contact] = field(default_factory=dict)
    groups: dict[str, str] = field(default_factory=lambda: {"contactGroups/customers": "Customers"})
    expiry: Callable[[], Refused] = expired_sync_token
    shuffles: bool = False
    bare_tombstones: bool = False
    names_leave_tombstones: bool = False
    lags: bool = False
    sync_tokens: bool = True
    counts: bool = True
    enabled: bool = True
    service: str = "google_contacts"
    origins: Sequence[str] = ORIGINS
    page_size: int = 1000
    credentials: Mapping[str, Any] = field(
        default_factory=lambda: {"access_token": ACCESS_TOKEN, "refresh_token": REFRESH_TOKEN}
    )
    criteria: Mapping[str, Any] = field(default_factory=dict)
    secrets: Sequence[str] = (ACCESS_TOKEN, REFRESH_TOKEN)
    traffic: Traffic = field(init=False)
    oauth: GoogleOAuth = field(default_factory=GoogleOAuth)
    clock: int = 0
    epoch: int = 0
    old_names: dict[str, tuple[str, int]] = field(default_factory=dict)
    pending: list[Callable[[], None]] = field(default_factory=list)

    def __post_init__(self) -> None:
        routes = [
            Route("/v1/people/me/connections", self._guarded(self._connections), methods=["GET"]),
            Route("/v1/people/me", self._guarded(self._me), methods=["GET"]),
            Route("/v1/contactGroups", self._guarded(self._contact_groups), methods=["GET"]),
            *self.oauth.routes(),
        ]
        self.traffic = Traffic(Starlette(routes=routes))

    # What happens in the address book

    def add(self, email: str | None, **parts: Any) -> str:
        number = 0x6A00_0000_0000_0000 + len(self.contacts) + len(self.pending) + 1
        first_name, last_name = name_of(email)
        person: dict[str, Any] = {"names": [item(givenName=first_name, familyName=last_name)]}
        if email is not None:
            person["emailAddresses"] = [item(value=email, type="home")]
        contact = Contact(parts={**person, **parts}, resource_name=f"people/c{number}")
        self._write(lambda: self.contacts.update({f"{number:x}": contact}), contact)
        return f"{number:x}"

    def change(self, external_id: str, **parts: Any) -> None:
        contact = self.contacts[external_id]
        changed = parts or {"nicknames": [item(value=f"Nick {self.clock}", type="DEFAULT")]}
        self._write(lambda: contact.parts.update(changed), contact)

    def label(self, external_id: str, *groups: str) -> None:
        """Put somebody into these groups alone."""
        contact = self.contacts[external_id]
        self._write(lambda: setattr(contact, "groups", {*groups}), contact)

    def rename(self, external_id: str, resource_name: str) -> None:
        """The person gets another resource name: it was linked to a profile, or is no longer."""
        contact = self.contacts[external_id]

        def write() -> None:
            if self.names_leave_tombstones:
                self.bury(contact.resource_name, external_id)
            contact.previous_names.append(contact.resource_name)
            contact.resource_name = resource_name

        self._write(write, contact)

    def merge(self, kept: str, gone: str) -> None:
        """Two contacts become one, which has the addresses of both."""
        survivor, other = self.contacts[kept], self.contacts[gone]
        addresses = [*survivor.parts["emailAddresses"], *(secondary(each) for each in other.parts["emailAddresses"])]
        survivor.previous_names.append(other.resource_name)
        self.change(kept, emailAddresses=addresses)
        self.remove(gone)

    def remove(self, external_id: str) -> None:
        contact = self.contacts[external_id]
        self._write(lambda: setattr(contact, "deleted", True), contact)

    def restore(self, external_id: str) -> None:
        """Bring somebody back who was deleted."""
        contact = self.contacts[external_id]
        self._write(lambda: setattr(contact, "deleted", False), contact)

    def bury(self, resource_name: str, external_id: str) -> None:
        """List an old resource name as deleted, long after its person got another one."""
        self.clock += 1
        self.old_names[resource_name] = (external_id, self.clock)

    def settle(self) -> None:
        """What was written becomes visible."""
        while self.pending:
            self.pending.pop(0)()

    def _write(self, write: Callable[[], None], contact: Contact) -> None:
        def done() -> None:
            write()
            self.clock += 1
            contact.changed_at = self.clock

        self.pending.append(done)
        if not self.lags:
            self.settle()

    def matching(self) -> dict[str, str | None]:
        wanted = {*self.criteria.get("groups", ())}
        return {
            external_id: next((each["value"] for each in contact.parts.get("emailAddresses", ())), None)
            for external_id, contact in self.contacts.items()
            if not contact.deleted and (not wanted or wanted & contact.groups)
        }

    def expire_checkpoints(self) -> None:
        self.epoch += 1

    def revoke(self) -> None:
        self.oauth.forget()

    # The People API

    def _guarded(self, answer: Callable[[Request], Response]) -> Callable[[Request], Any]:
        async def endpoint(request: Request) -> Response:
            try:
                self._admit(request)
                return answer(request)
            except Refused as refused:
                return refused.response

        return endpoint

    def _admit(self, request: Request) -> None:
        scopes = self.oauth.access_tokens.get(request.headers.get("Authorization", "").removeprefix("Bearer "))
        if scopes is None:
            raise Refused(401, "UNAUTHENTICATED", "Request had invalid authentication credentials.")
        if not self.enabled:
            message = "People API has not been used in project 1234 before or it is disabled."
            raise Refused(403, "PERMISSION_DENIED", message, "SERVICE_DISABLED")
        needed = EMAIL_SCOPE if request.url.path == "/v1/people/me" else CONTACTS_SCOPE
        if needed not in scopes:
            message = "Request had insufficient authentication scopes."
            raise Refused(403, "PERMISSION_DENIED", message, "ACCESS_TOKEN_SCOPE_INSUFFICIENT")

    def _connections(self, request: Request) -> Response:
        given = parameters(
            request, "personFields", "sources", "pageSize", "pageToken", "requestSyncToken", "syncToken", "sortOrder"
        )
        mask, sources = field_mask(given), source_types(given)
        size = min(page_size(given, default=100), self.page_size)
        fixed = digest(sorted((name, values) for name, values in given.items() if "Token" not in name[4:]))
        since = self._synced(given, fixed)
        after, started = self._place(given, fixed, since)
        listed = self._listed(since, after)
        page, rest = listed[:size], listed[size:]
        answer: dict[str, Any] = {"connections": [self._person(each, mask, sources, since) for _, each in page]}
        if rest:
            answer["nextPageToken"] = token("page", self.epoch, fixed, since, page[-1][0], started)
        elif given.get("requestSyncToken") == ["true"] and self.sync_tokens:
            answer["nextSyncToken"] = token("sync", self.epoch, fixed, started)
        if self.counts:
            answer["totalItems"] = answer["totalPeople"] = len(self._listed(since, 0))
        return JSONResponse({name: value for name, value in answer.items() if value})

    def _synced(self, given: Mapping[str, list[str]], fixed: str) -> int | None:
        if "syncToken" not in given:
            return None
        _, epoch, asked, since = read_token(given["syncToken"][0], "sync")
        if epoch != self.epoch:
            raise self.expiry()
        if asked != fixed:
            raise invalid("Sync token was requested with other parameters.")
        return int(since)

    def _place(self, given: Mapping[str, list[str]], fixed: str, since: int | None) -> tuple[int, int]:
        """After which change the page begins, and when the pass began."""
        if "pageToken" not in given:
            return since or 0, self.clock
        _, epoch, asked, of, after, started = read_token(given["pageToken"][0], "page")
        if epoch != self.epoch:
            raise invalid("Page token is invalid or has expired.")
        if (asked, of) != (fixed, since):
            raise invalid("Page token was requested with other parameters.")
        return int(after), int(started)

    def _listed(self, since: int | None, after: int) -> list[tuple[int, Any]]:
        """Contacts, and old names that are gone, by when they changed; those deleted only where changes are asked."""
        found: list[tuple[int, Any]] = [
            (contact.changed_at, (external_id, contact))
            for external_id, contact in self.contacts.items()
            if contact.changed_at > max(since or 0, after) and not (contact.deleted and since is None)
        ]
        if since is not None:
            found += [(at, (id_, name)) for name, (id_, at) in self.old_names.items() if at > max(since, after)]
        return sorted(found, key=lambda each: each[0])

    def _person(self, listed: Any, mask: set[str], sources: set[str], since: int | None) -> dict[str, Any]:
        external_id, contact = listed
        source = {"type": "CONTACT", "id": external_id}
        if isinstance(contact, str):
            return self._tombstone(contact, source)
        if contact.deleted:
            return self._tombstone(contact.resource_name, source)
        parts = {name: [stamped(each, source) for each in items] for name, items in contact.parts.items()}
        if contact.profile_email and "READ_SOURCE_TYPE_PROFILE" in sources:
            profile = item(value=contact.profile_email)
            parts["emailAddresses"] = [profile, *(secondary(each) for each in parts["emailAddresses"])]
        parts["memberships"] = [membership(group, source) for group in sorted(contact.groups)]
        if self.shuffles:
            for items in parts.values():
                random.shuffle(items)
        metadata: dict[str, Any] = {"sources": [{**source, "etag": f"#{contact.changed_at}"}], "objectType": "PERSON"}
        if contact.previous_names and since is not None:
            metadata["previousResourceNames"] = contact.previous_names
        shown = {name: value for name, value in {**parts, "metadata": metadata}.items() if name in mask and value}
        return {"resourceName": contact.resource_name, "etag": f"%{contact.changed_at}", **shown}

    def _tombstone(self, resource_name: str, source: Mapping[str, str]) -> dict[str, Any]:
        sources = {} if self.bare_tombstones else {"sources": [source]}
        return {"resourceName": resource_name, "etag": "%0", "metadata": {"deleted": True, **sources}}

    def _me(self, request: Request) -> Response:
        given = parameters(request, "personFields", "sources")
        mask = field_mask(given)
        source_types(given)
        address = {
            "metadata": {"primary": True, "verified": True, "source": {"type": "ACCOUNT", "id": ACCOUNT_ID}},
            "value": ACCOUNT_EMAIL,
        }
        parts = {
            "emailAddresses": [address],
            "metadata": {"sources": [{"type": "PROFILE", "id": ACCOUNT_ID}], "objectType": "PERSON"},
        }
        shown = {name: value for name, value in parts.items() if name in mask}
        return JSONResponse({"resourceName": f"people/{ACCOUNT_ID}", "etag": "%me", **shown})

    def _contact_groups(self, request: Request) -> Response:
        given = parameters(request, "groupFields", "pageSize", "pageToken", "syncToken")
        size = min(page_size(given, default=30), self.page_size)
        start = int(read_token(given["pageToken"][0], "groups")[1]) if "pageToken" in given else 0
        groups = [
            {
                "resourceName": name,
                "etag": "%g",
                "groupType": "USER_CONTACT_GROUP" if name in self.groups else "SYSTEM_CONTACT_GROUP",
                "name": label if name in self.groups else name.partition("/")[2],
                "formattedName": label,
                "memberCount": sum(name in each.groups and not each.deleted for each in self.contacts.values()),
            }
            for name, label in {**SYSTEM_GROUPS, **self.groups}.items()
        ]
        following = {"nextPageToken": token("groups", start + size)} if start + size < len(groups) else {}
        return JSONResponse({"contactGroups": groups[start : start + size], "totalItems": len(groups), **following})


def make(people: int) -> GoogleContacts:
    """The simulator with so many contacts."""
    simulator = GoogleContacts()
    for number in range(people):
        simulator.add(f"person-{number}@example.com")
    return simulator
