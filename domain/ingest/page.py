"""Store a page: its records, their outcomes, the counts and the checkpoint in one transaction, or nothing (R14)."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from domain import database, fields, reviews, sweeps, turns
from domain.emails import parse_email
from domain.enums import DeletionPolicy, LedgerState
from domain.fields import KnownField
from domain.ingest import deletions
from domain.ingest.decisions import OUTCOME_OF
from domain.ingest.guard import Guard, ReviewNeeded
from domain.ingest.items import Sighting, distinct, item_of, seen_values, sighting_of, storable_id
from domain.ingest.known import load_repeated
from domain.ingest.storing import MAX_RECORDS, Stored, Storing, allowance_of, count, in_transaction, store
from domain.records import FieldSpec, Record
from domain.turns import Turn


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

    def prepare(self, *, as_news: bool) -> None:
        """Do what can be done with the records alone; `as_news` where most of them will be."""
        self.sightings.extend(sighting_of(record) for record in self.records[len(self.sightings) :])
        if as_news:
            for each in self.sightings:
                parse_email(item_of(each).snapshot.get("email") or "")


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
    called, maybe more than once, when PostgreSQL gets busy with the page for long. Raises LeaseLost or TurnSuperseded
    where the page must be dropped.
    """
    page.prepare(as_news=False)
    sightings = distinct(page.sightings[start : start + MAX_RECORDS])
    reaches_end = start + len(sightings) == len(page.records)

    async def work(storing: Storing) -> Stored:
        storing.guard, storing.meanwhile = Guard.of(storing.rules.guard), meanwhile
        # Unsubscribing whom the source deleted changes the number of ACTIVE contacts.
        storing.lock_account |= bool(page.deleted_ids) and storing.rules.deletion_policy is DeletionPolicy.UNSUBSCRIBE
        stored = await _store_news(storing, sightings, allowance_of(storing.rules, allowance))
        is_whole = reaches_end and stored.consumed == len(sightings)
        await _keep_place(storing, page, stored, is_whole=is_whole, start=start)
        stored = await count(storing, stored)
        if is_whole:
            await _complete(storing, page, stored)
        return stored

    try:
        return await in_transaction(turn, await _ensure_fields(turn, sightings, page.fields), work)
    except ReviewNeeded as needed:
        return Stored(run=await reviews.stop(turn, needed.review), in_review=True)


async def _store_news(storing: Storing, sightings: Sequence[Sighting], allowance: int) -> Stored:
    """Store what is news, as far as `allowance` reaches; what is not, up to there, is only counted."""
    states = await load_repeated(storing.connection, storing.turn, sightings)
    news = [index for index, state in enumerate(states) if state is None]
    if not news and storing.meanwhile is not None:
        storing.meanwhile()
    if storing.guard:
        storing.guard.figures.known += states.count(LedgerState.LINKED)
    stored = await store(storing, [item_of(sightings[index]) for index in news], allowance) if news else Stored()
    end = len(states) if stored.consumed == len(news) else news[stored.consumed]
    if storing.guard:
        storing.guard.figures.known -= states[end:].count(LedgerState.LINKED)
    stored.counts.update(OUTCOME_OF[state] for state in states[:end] if state is not None)
    stored.consumed = end
    return stored


async def _ensure_fields(
    turn: Turn, sightings: Sequence[Sighting], specs: Mapping[str, FieldSpec]
) -> Mapping[str, KnownField]:
    """The fields that the page's changed records need, made before the page's transaction."""
    if not sightings:
        return {}
    known = await fields.load(turn.account_id, turn.service)
    keys = set[str]().union(*(each.record.values for each in sightings))
    if all(key in known and known[key].first_seen_in is None for key in keys):
        return known
    digests = {
        row["external_id"]: row["digest"]
        for row in await database.fetch(
            "SELECT external_id, digest FROM ledger WHERE account_id = $1 AND external_account_id = $2"
            " AND automatic_import_id = $3 AND external_id = ANY($4::text[])",
            turn.account_id, turn.external_account_id, turn.automatic_import_id,
            [each.external_id for each in sightings],
        )
    }  # fmt: skip
    changed = [item_of(each) for each in sightings if digests.get(each.external_id) != each.digest]
    if not changed:
        return known
    return await fields.ensure(
        account_id=turn.account_id,
        external_account_id=turn.external_account_id,
        service=turn.service,
        specs=specs,
        seen=seen_values(changed),
    )


async def _keep_place(storing: Storing, page: Incoming, stored: Stored, *, is_whole: bool, start: int) -> None:
    """Where the import stands: its checkpoint, what the guard counts, what is new, and what is still to come (R4)."""
    if stored.new_ids and not page.sweep:
        await sweeps.add(storing.connection, storing.turn, stored.new_ids)
    remaining = None if page.remaining is None else page.remaining + len(page.records) - start - stored.consumed
    guard = storing.guard.to_json() if storing.guard else {}
    stored.is_due = await storing.connection.fetchval(
        "UPDATE automatic_import i SET checkpoint = coalesce($3, checkpoint), guard = $4, source_remaining = $5"
        f" WHERE account_id = $1 AND id = $2 RETURNING {turns.IS_DUE}",
        storing.turn.account_id, storing.turn.automatic_import_id,
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
