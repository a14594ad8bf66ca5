"""Store a page: its records, their outcomes, the counts and the checkpoint in one transaction, or nothing (R14)."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from domain import fields, reviews, sweeps, turns
from domain.emails import parse_email
from domain.enums import DeletionPolicy, LedgerState
from domain.ingest import deletions
from domain.ingest.decisions import OUTCOME_OF
from domain.ingest.guard import Guard, ReviewNeeded
from domain.ingest.items import Sighting, distinct, item_of, seen_values, sighting_of, storable_id
from domain.ingest.known import load_repeated
from domain.ingest.storing import store
from domain.ingest.transaction import (
    MAX_RECORDS,
    USE_CAP,
    Stored,
    Storing,
    allowance_of,
    count_in_run,
    in_transaction,
    use_of_cap,
)
from domain.records import FieldSpec, Record
from domain.turns import Turn

AT_A_TIME = 20
"""Records: less than a millisecond. PostgreSQL's next answer is not to wait for longer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Incoming:
    """A page as a connector read it. The checkpoint is true once all of it is stored.

    `sweep`: it belongs to a reading of everything that matches, which ends with the page that is `complete`.
    `remaining` is how many records the pass still has after this page, where the service tells.
    """

    records: Sequence[Record]
    checkpoint: Mapping[str, Any]
    fields: Mapping[str, FieldSpec] = field(default_factory=dict)
    deleted_ids: Sequence[str] = ()
    sweep: bool = False
    complete: bool = False
    remaining: int | None = None
    sightings: list[Sighting] = field(init=False, default_factory=list)

    async def prepare(self, *, as_news: bool = False) -> None:
        """Do what can be done with the records alone, giving way often; `as_news` where most of them will be."""
        for start in range(len(self.sightings), len(self.records), AT_A_TIME):
            sightings = [sighting_of(record) for record in self.records[start : start + AT_A_TIME]]
            if as_news:
                for each in sightings:
                    parse_email(item_of(each).snapshot.get("email") or "")
            self.sightings.extend(sightings)
            await asyncio.sleep(0)


class FieldsMissing(Exception):
    """The page needs fields, which are made before its transaction: `seen` is what brings their values."""

    def __init__(self, seen: Mapping[str, Sequence[str]]) -> None:
        super().__init__()
        self.seen = seen


async def store_page(
    turn: Turn,
    page: Incoming,
    *,
    start: int = 0,
    allowance: int | None = None,
    meanwhile: Callable[[], None] | None = None,
) -> Stored:
    """Store the page's records from `start` on, as far as the cap, the turn's `allowance` and 500 reach.

    The checkpoint moves when the last record is stored. Storing a page again changes nothing, so a retried one is
    harmless. What the guard against accidents stops is not stored: then the import waits for review. `meanwhile` is
    called, maybe more than once, when PostgreSQL gets busy with news for long. Raises LeaseLost or TurnSuperseded
    where the page must be dropped.
    """
    await page.prepare()
    sightings = distinct(page.sightings[start : start + MAX_RECORDS])
    reaches_end = start + len(sightings) == len(page.records)

    async def work(storing: Storing) -> Stored:
        storing.guard, storing.meanwhile = Guard.of(storing.rules.guard), meanwhile
        # Unsubscribing whom the source deleted changes the number of ACTIVE contacts.
        storing.lock_account |= bool(page.deleted_ids) and storing.rules.deletion_policy is DeletionPolicy.UNSUBSCRIBE
        stored = await _store_news(storing, sightings, page.fields, allowance_of(storing.rules, allowance))
        is_whole = reaches_end and stored.consumed == len(sightings)
        await _keep_place(storing, page, stored, is_whole=is_whole, start=start)
        stored = await count_in_run(storing, stored)
        if is_whole:
            await _complete(storing, page, stored)
        return stored

    while True:
        try:
            return await in_transaction(turn, work)
        except FieldsMissing as missing:
            await fields.ensure(
                account_id=turn.account_id,
                external_account_id=turn.external_account_id,
                service=turn.service,
                specs=page.fields,
                seen=missing.seen,
            )
        except ReviewNeeded as needed:
            return Stored(run=await reviews.stop(turn, needed.review), in_review=True)


async def _store_news(
    storing: Storing, sightings: Sequence[Sighting], specs: Mapping[str, FieldSpec], allowance: int
) -> Stored:
    """Store what is news, as far as `allowance` reaches; what is not, up to there, is only counted."""
    states = await load_repeated(storing.connection, storing.turn, sightings)
    news = [index for index, state in enumerate(states) if state is None]
    await _require_fields(storing, [sightings[index] for index in news], specs)
    if storing.guard:
        storing.guard.figures.known += states.count(LedgerState.LINKED)
    stored = await store(storing, [item_of(sightings[index]) for index in news], allowance) if news else Stored()
    end = len(states) if stored.consumed == len(news) else news[stored.consumed]
    if storing.guard:
        storing.guard.figures.known -= states[end:].count(LedgerState.LINKED)
    stored.counts.update(OUTCOME_OF[state] for state in states[:end] if state is not None)
    stored.consumed = end
    return stored


async def _require_fields(storing: Storing, news: Sequence[Sighting], specs: Mapping[str, FieldSpec]) -> None:
    """Raise FieldsMissing where the news call for fields that there are not."""
    turn = storing.turn
    storing.fields = await fields.load(turn.account_id, turn.service) if news else {}
    keys = set[str]().union(*(each.record.values for each in news))
    if all((known := storing.fields.get(key)) is not None and known.first_seen_in is None for key in keys):
        return
    seen = seen_values([item_of(each) for each in news])
    if fields.fields_to_make(
        storing.fields, (), service=turn.service, external_account_id=turn.external_account_id, specs=specs, seen=seen
    ):
        raise FieldsMissing(seen)


async def _keep_place(storing: Storing, page: Incoming, stored: Stored, *, is_whole: bool, start: int) -> None:
    """Where the import stands: its checkpoint, what the guard counts, what is new, and what is still to come (R4).

    In one statement with the use of the cap.
    """
    if stored.new_ids and not (page.sweep and is_whole):
        await sweeps.add(storing.connection, storing.turn, stored.new_ids)
    remaining = None if page.remaining is None else page.remaining + len(page.records) - start - stored.consumed
    guard = storing.guard.to_json() if storing.guard else {}
    stored.is_due = await storing.connection.fetchval(
        f"WITH used AS ({USE_CAP})"
        " UPDATE automatic_import i SET checkpoint = coalesce($7, checkpoint), guard = $8, source_remaining = $9"
        f" WHERE account_id = $1 AND id = $6 RETURNING {turns.IS_DUE}",
        *use_of_cap(storing, stored), storing.turn.automatic_import_id,
        orjson.dumps(page.checkpoint).decode() if is_whole else None, orjson.dumps(guard).decode(), remaining,
    )  # fmt: skip


async def _complete(storing: Storing, page: Incoming, stored: Stored) -> None:
    """All of the page is stored: its tombstones count, and what a sweep saw and missed."""
    connection, turn = storing.connection, storing.turn
    if page.sweep:
        await sweeps.saw(connection, turn, [storable_id(record.external_id) for record in page.records])
    if page.deleted_ids:
        await sweeps.confirm(connection, turn, [storable_id(gone) for gone in page.deleted_ids])
        await deletions.act(storing, stored)
    if page.complete and (review := await sweeps.conclude(connection, turn)):
        stored.run = await reviews.stop_in(connection, turn, review)
        stored.in_review = True
