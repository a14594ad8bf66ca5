"""A made-up service: what it knows of people, page by page, and the ways in which asking it goes wrong.

Model and engine read the same books; what becomes of what they read is for each of them to say.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from enum import Enum
from typing import Any

import httpx
from pydantic import BaseModel

from connectors.base import (
    AccessRevokedError,
    Checkpoint,
    CheckpointExpiredError,
    Page,
    RemoteAccount,
    Service,
    ServiceCategory,
    TransientError,
    UnexpectedResponseError,
)
from domain.records import FieldSpec, FieldType, Record

PAGE_SIZE = 3
FIELDS = {
    "total": FieldSpec(key="total", title="Total spent", type=FieldType.NUMBER),
    "note": FieldSpec(key="note", title="Note", type=FieldType.TEXT),
}
EVERYBODY, FRIENDS = "everybody", "friends"
A_WHILE = timedelta(seconds=30)


class Fault(Enum):
    """What happens instead of an answer, or during one."""

    BUSY = "asks to be left alone for a while"
    BUSY_FOR_LONG = "asks to be left alone for two and a half windows"
    REVOKED = "does not accept the credentials any more"
    EXPIRED = "has forgotten the checkpoint"
    BROKEN = "answers something that its documentation does not allow"
    SHUTDOWN = "the worker is told to stop"
    KILLED = "the worker is gone without a word"
    PAUSED = "a user pauses an import while the page is under way"
    NARROWED = "a user edits an import's criteria while the page is under way"
    UNDONE = "a user undoes an import's last run while the page is under way"


class Killed(BaseException):
    """kill -9, as far as one process can play it: nothing in the code catches this, nothing is cleaned up."""


@dataclass(frozen=True, kw_only=True)
class Planned:
    """A fault, and how many requests are answered before it happens; `meanwhile` is what users do then."""

    fault: Fault
    after: int
    meanwhile: str | None = None


@dataclass(frozen=True, kw_only=True)
class Change:
    """The last change of one person; without a record, that it was deleted."""

    version: int
    record: Record | None
    group: str = EVERYBODY


@dataclass(kw_only=True)
class Book:
    """One external account's people, by external id; every change raises the version.

    Not every book `tells_changes`: of another, everything is read again and again, and who is deleted is just gone.
    """

    tells_changes: bool
    changes: dict[str, Change] = field(default_factory=dict)
    version: int = 0

    def put(self, record: Record, group: str) -> None:
        """A person appears, or changes."""
        self.version += 1
        self.changes[record.external_id] = Change(version=self.version, record=record, group=group)

    def delete(self, external_id: str) -> None:
        """A person is deleted, which the service goes on telling, if it tells anything."""
        self.version += 1
        self.changes[external_id] = Change(version=self.version, record=None)

    def pages(self, group: str, checkpoint: Checkpoint | None) -> Iterator[Page]:
        """What there is to read from the checkpoint on; a page at least."""
        return self._news(group, checkpoint) if self.tells_changes else self._everybody(group, checkpoint)

    def _everybody(self, group: str, checkpoint: Checkpoint | None) -> Iterator[Page]:
        """The rest of the sweep that the checkpoint is in, by external id."""
        after = checkpoint["after"] if checkpoint else ""
        people = [
            change.record
            for external_id, change in sorted(self.changes.items())
            if external_id > after and change.record and group in (EVERYBODY, change.group)
        ]
        for start in range(0, len(people), PAGE_SIZE) or [0]:
            part = people[start : start + PAGE_SIZE]
            is_last = start + PAGE_SIZE >= len(people)
            yield Page(
                records=part,
                fields=FIELDS,
                checkpoint={"after": "" if is_last else part[-1].external_id},
                sweep=True,
                complete=is_last,
            )

    def _news(self, group: str, checkpoint: Checkpoint | None) -> Iterator[Page]:
        """What changed since the checkpoint, oldest change first. From the start, that is a sweep."""
        since = checkpoint["version"] if checkpoint else 0
        is_sweep = checkpoint is None or checkpoint["is_sweep"]
        news = sorted(
            (
                (change.version, external_id, change.record)
                for external_id, change in self.changes.items()
                if change.version > since
                and (group in (EVERYBODY, change.group) if change.record else checkpoint is not None)
            ),
            key=lambda news: news[0],
        )
        starts = range(0, len(news), PAGE_SIZE) or [0]
        for start in starts:
            part = news[start : start + PAGE_SIZE]
            is_last = start + PAGE_SIZE >= len(news)
            yield Page(
                records=[record for _, _, record in part if record],
                deleted_ids=[external_id for _, external_id, record in part if not record],
                fields=FIELDS,
                checkpoint={
                    "version": self.version if is_last else part[-1][0],
                    "is_sweep": is_sweep and not is_last,
                },
                sweep=is_sweep,
                complete=is_sweep and is_last,
            )


@dataclass(kw_only=True)
class Faults:
    """What is going to go wrong, by book. Model and engine each meet a plan of their own."""

    planned: dict[str, Planned] = field(default_factory=dict)

    def meet(self, book: str) -> Planned | None:
        """One request is made. Returns the fault that it meets, if its time has come."""
        planned = self.planned.get(book)
        if planned is None:
            return None
        if planned.after == 0:
            return self.planned.pop(book)
        self.planned[book] = replace(planned, after=planned.after - 1)
        return None


class Credentials(BaseModel):
    """Whose book it is."""

    book: str


class Criteria(BaseModel):
    """Which group of people."""

    group: str = EVERYBODY


@dataclass(frozen=True, kw_only=True)
class BookConnector:
    """Reads one book; `meanwhile` lets a user do something while a page is under way."""

    name: str
    book: Book
    faults: Faults
    group: str
    cycle_seconds: float
    meanwhile: Callable[[Planned], Awaitable[None]]

    async def pages(self, checkpoint: Checkpoint | None) -> AsyncGenerator[Page, None]:
        """A request a page."""
        for page in self.book.pages(self.group, checkpoint):
            await self._meet(self.faults.meet(self.name))
            yield page

    async def _meet(self, planned: Planned | None) -> None:
        match planned.fault if planned else None:
            case Fault.BUSY:
                raise TransientError("Busy.", retry_after=A_WHILE)
            case Fault.BUSY_FOR_LONG:
                raise TransientError("Very busy.", retry_after=timedelta(seconds=2.5 * self.cycle_seconds))
            case Fault.REVOKED:
                raise AccessRevokedError("The credentials are not accepted any more.")
            case Fault.EXPIRED:
                raise CheckpointExpiredError("Too long ago.")
            case Fault.BROKEN:
                raise UnexpectedResponseError("That is no JSON.")
            case Fault.KILLED | Fault.SHUTDOWN | Fault.PAUSED | Fault.NARROWED | Fault.UNDONE:
                assert planned is not None
                await self.meanwhile(planned)


def book_service(
    books: Mapping[str, Book],
    faults: Faults,
    *,
    cycle_seconds: float,
    meanwhile: Callable[[Planned], Awaitable[None]],
) -> Service:
    """The service whose credentials name one of `books`."""

    def connect(_: httpx.AsyncClient, credentials: Credentials, criteria: Criteria) -> BookConnector:
        return BookConnector(
            name=credentials.book,
            book=books[credentials.book],
            faults=faults,
            group=criteria.group,
            cycle_seconds=cycle_seconds,
            meanwhile=meanwhile,
        )

    async def identify(_: httpx.AsyncClient, credentials: Credentials) -> RemoteAccount:
        return RemoteAccount(identity=credentials.book, label=credentials.book)

    async def choices(_: httpx.AsyncClient, __: Any, ___: str) -> Sequence[Any]:
        return []

    return Service(
        key="books",
        name="Books",
        category=ServiceCategory.ADDRESS_BOOK,
        documentation_url="https://example.com",
        credentials=Credentials,
        form=Credentials,
        criteria=Criteria,
        fields=tuple(FIELDS.values()),
        connect=connect,
        identify=identify,
        choices=choices,
        tells_deletions=True,
    )
