"""Contacts of any CardDAV server: Nextcloud, iCloud, Fastmail and others.

* Change source: `sync-collection` with a sync token; where a server has none, entity tags are compared.
* Checkpoint: per address book, what has been read. While a pass is under way that is the old token, the new
  one, and the path of the last card stored: to go on, the changes since the old token are listed again and
  those up to that path left out. What changes meanwhile comes with the next pass, from the new token.
* Deletions: both report them. A card moved to another address book is a deletion here and a new card there.

https://www.rfc-editor.org/rfc/rfc6352, https://www.rfc-editor.org/rfc/rfc6578
"""

from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal
from urllib.parse import unquote
from xml.sax.saxutils import escape

import httpx
from pydantic import BaseModel, ConfigDict, Field

from connectors.base import (
    Checkpoint,
    Choice,
    Page,
    RemoteAccount,
    Service,
    ServiceCategory,
    UnexpectedResponseError,
    restore,
)
from connectors.carddav import vcard
from connectors.carddav.books import AddressBook, Credentials, address_books, find_place, open_webdav
from connectors.carddav.webdav import WebDav, members
from domain.records import Record

CARDS_PER_PAGE = 100
"""One page is one multiget; servers refuse or crawl at much more."""

ADDRESS_DATA = "{urn:ietf:params:xml:ns:carddav}address-data"


class Criteria(BaseModel):
    """Which contacts to import."""

    model_config = ConfigDict(extra="forbid")

    address_book: str | None = Field(
        None,
        max_length=2000,
        title="Address book",
        description="Import this address book only; all of them if left empty.",
    )


class BookState(BaseModel):
    """How far an address book has been read.

    `token`: everything up to this sync token. `target` and `after`: a pass towards that token is under way, and
    cards up to that path are stored. `etags`: the cards read, where the server has no sync tokens.
    """

    model_config = ConfigDict(frozen=True)

    token: str = ""
    target: str = ""
    after: str = ""
    etags: Mapping[str, str] = {}


class State(BaseModel):
    """The checkpoint. `sweeping` until everything has been read once."""

    version: Literal[1] = 1
    sweeping: bool
    books: Mapping[str, BookState]


@dataclass(frozen=True, slots=True, kw_only=True)
class BookPass:
    """What is to be read of one address book: entity tags by path, None for what was removed; sorted by path."""

    book: AddressBook
    changes: Mapping[str, str | None]
    state: BookState

    def steps(self) -> Iterator[tuple[Sequence[str], BookState]]:
        """Cut into pages: their paths, and how far the book has been read once the page is stored."""
        paths = list(self.changes)
        for start in range(0, len(paths) or 1, CARDS_PER_PAGE):
            chunk = paths[start : start + CARDS_PER_PAGE]
            yield chunk, self._after(chunk, last=start + CARDS_PER_PAGE >= len(paths))

    def _after(self, chunk: Sequence[str], *, last: bool) -> BookState:
        if not self.book.syncs:
            done = {**self.state.etags, **{path: etag for path, etag in self.changes.items() if path <= chunk[-1]}}
            return BookState(etags={path: etag for path, etag in done.items() if etag is not None})
        if last:
            return BookState(token=self.state.target)
        return self.state.model_copy(update={"after": chunk[-1]})


class CardDav:
    """Reads the address books of one login, or one of them."""

    def __init__(self, client: httpx.AsyncClient, credentials: Credentials, criteria: Criteria) -> None:
        self._dav = open_webdav(client, credentials)
        self._credentials = credentials
        self._criteria = criteria

    async def pages(self, checkpoint: Checkpoint | None) -> AsyncGenerator[Page, None]:
        """Yield changed cards, at most 100 a page. `remaining` counts cards, groups and removals included."""
        state = State(sweeping=True, books={}) if checkpoint is None else restore(State, checkpoint)
        books = await self._books()
        passes = [
            found
            for book in books
            if (found := await _changes(self._dav, book, state.books.get(book.path, BookState())))
        ]
        remaining = sum(len(found.changes) for found in passes)
        done = {book.path: state.books[book.path] for book in books if book.path in state.books}
        for found in passes:
            for paths, book_state in found.steps():
                changed = [path for path in paths if found.changes[path] is not None]
                records = await _cards(self._dav, found.book, changed)
                done[found.book.path] = book_state
                remaining -= len(paths)
                yield Page(
                    records=records,
                    fields={key: vcard.field_spec(key) for record in records for key in record.values},
                    deleted_ids=[path for path in paths if found.changes[path] is None],
                    checkpoint=State(sweeping=state.sweeping, books=done).model_dump(mode="json"),
                    sweep=state.sweeping,
                    remaining=remaining,
                )
        if state.sweeping:
            checkpoint = State(sweeping=False, books=done).model_dump(mode="json")
            yield Page(records=[], checkpoint=checkpoint, sweep=True, complete=True, remaining=0)

    async def _books(self) -> list[AddressBook]:
        books = await address_books(self._dav, await find_place(self._dav, self._credentials))
        wanted = self._criteria.address_book
        if wanted is None:
            return books
        chosen = [book for book in books if book.path == wanted]
        if not chosen:
            raise UnexpectedResponseError(f"the address book {wanted} does not exist any more: choose another")
        return chosen


async def _changes(dav: WebDav, book: AddressBook, state: BookState) -> BookPass | None:
    """List what is still to be read of an address book, None if there is nothing."""
    if not book.syncs:
        etags = members(await dav.propfind(book.url, "{DAV:}getetag", depth=1), book.url)
        # A card without an entity tag may have changed at any time.
        changes = {path: etag for path, etag in etags.items() if not etag or etag != state.etags.get(path)}
        changes |= dict.fromkeys(state.etags.keys() - etags.keys())
        return BookPass(book=book, changes=dict(sorted(changes.items())), state=state) if changes else None
    if state.token and book.sync_token == state.token:
        return None
    listed = await dav.sync_collection(book.url, state.token)
    target = state.target or listed.token
    changes = {
        path: etag
        for path, etag in sorted(listed.etags.items())
        # An initial listing may name cards that were removed long ago.
        if path > state.after and (etag is not None or state.token)
    }
    if not changes and target == state.token:
        return None
    return BookPass(book=book, changes=changes, state=state.model_copy(update={"target": target}))


async def _cards(dav: WebDav, book: AddressBook, paths: Sequence[str]) -> list[Record]:
    """Fetch cards (RFC 6352, section 8.7). Those removed since they were listed are left out, groups too.

    The listing's own address data is never used: some servers send it, others only entity tags.
    """
    if not paths:
        return []
    hrefs = "".join(f"<href>{escape(path)}</href>" for path in paths)
    answers = await dav.report(
        book.url,
        '<C:addressbook-multiget xmlns="DAV:" xmlns:C="urn:ietf:params:xml:ns:carddav">'
        f"<prop><getetag/><C:address-data/></prop>{hrefs}</C:addressbook-multiget>",
    )
    # Servers answer in any order, and may escape a path differently from one answer to the next.
    found = {unquote(answer.path): answer for answer in answers}
    cards = [(path, found[unquote(path)]) for path in paths if unquote(path) in found]
    if not cards:
        raise UnexpectedResponseError(f"REPORT {book.url}: the answer has none of the {len(paths)} cards asked for")
    records = [
        vcard.to_record(path, card.text(ADDRESS_DATA) or "") for path, card in cards if card.status not in {404, 410}
    ]
    return [record for record in records if record is not None]


def connect(client: httpx.AsyncClient, credentials: Credentials, criteria: Criteria) -> CardDav:
    """Make the connector for one automatic import."""
    return CardDav(client, credentials, criteria)


async def identify(client: httpx.AsyncClient, credentials: Credentials) -> RemoteAccount:
    """Check the credentials. The identity is the principal's URL; without one, user name and address."""
    place = await find_place(open_webdav(client, credentials), credentials)
    host = httpx.URL(credentials.url).host
    identity = str(place.principal or f"{credentials.username} {credentials.url}")
    return RemoteAccount(identity=identity, label=f"{credentials.username} at {host}")


async def choices(client: httpx.AsyncClient, credentials: Credentials, criterion: str) -> Sequence[Choice]:
    """Offer the address books of the login."""
    if criterion != "address_book":
        return []
    dav = open_webdav(client, credentials)
    books = await address_books(dav, await find_place(dav, credentials))
    return [Choice(value=book.path, label=book.name) for book in books]


SERVICE = Service(
    key="carddav",
    name="CardDAV",
    category=ServiceCategory.ADDRESS_BOOK,
    documentation_url="https://www.rfc-editor.org/rfc/rfc6352",
    credentials=Credentials,
    form=Credentials,
    criteria=Criteria,
    fields=vcard.FIELDS,
    connect=connect,
    identify=identify,
    choices=choices,
    tells_deletions=True,
)
