"""Who counts as deleted at the service, and what the import's policy would do to them (R16).

What one reading misses for the first time is only told: what the next one will miss, nobody knows.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, TypeGuard
from uuid import UUID

from domain import sweeps
from domain.consent import LOW
from domain.database import Connection
from domain.enums import ContactStatus, DeletionPolicy, LedgerState, OutcomeCode
from domain.ingest.decisions import KEEPS_ADDRESS
from domain.ingest.known import TAG, Draft, Entry, load
from domain.ingest.transaction import MAX_RECORDS
from domain.previews.imagined import Imagined, learn, learn_entries, learn_items, name_successors, reading
from domain.previews.kept import EXACT_RECORDS
from domain.settings import settings
from domain.turns import Turn


@dataclass(slots=True, kw_only=True)
class Deletions:
    """What became of records that count as deleted; `missing` are those that a complete reading missed once."""

    deleted: int = 0
    unsubscribed: int = 0
    tagged: int = 0
    missing: int = 0

    def to_json(self) -> dict[str, int]:
        """As the preview keeps it."""
        return asdict(self)


@dataclass(slots=True, kw_only=True)
class Sweep:
    """The reading under way, beside what earlier ones saw. `confirmed` are to be acted on, `acted` were.

    `told`: those of `confirmed` of which the service itself says that they are deleted.
    `expected`: what the last complete one of this reading saw, and what came since; before there is one (`is_first`)
    those that the import has stored come on top. `noted` was missed by it, `back` are there again since. `is_told`:
    they are few enough.
    """

    confirmed: set[str]
    is_first: bool
    told: set[str] = field(default_factory=set)
    expected: set[str] = field(default_factory=set)
    noted: set[str] = field(default_factory=set)
    back: set[str] = field(default_factory=set)
    acted: set[str] = field(default_factory=set)
    seen: set[str] | None = None
    is_told: bool = True

    def tell(self, external_ids: Collection[str]) -> None:
        """The service says that these records are deleted."""
        self.confirmed.update(external_ids)
        self.told.update(external_ids)

    def is_gone(self, external_id: str, *, elsewhere: bool) -> bool:
        """Whether the record is deleted, also as it is known `elsewhere`: by another import that may still see it."""
        return external_id in (self.told if elsewhere else self.confirmed)

    def saw(self, external_ids: Iterable[str]) -> None:
        """A page of a reading of everything: with the first one it begins."""
        self.seen = (self.seen or set()) | set(external_ids)

    def add(self, external_ids: Collection[str]) -> None:
        """These records are new, and of no page that was seen whole: the next reading of everything should see them."""
        (self.expected if self.seen is None else self.seen).update(external_ids)
        self.back.update(external_ids)
        self.noted.difference_update(external_ids)


async def load_sweep(connection: Connection, turn: Turn, *, starts_over: bool) -> Sweep:
    """What the import has stored; with new criteria, earlier readings are no measure any more."""
    rows = await connection.fetch(
        "SELECT external_id, told FROM missing_record WHERE account_id = $1 AND automatic_import_id = $2 AND confirmed"
        " LIMIT $3",
        turn.account_id, turn.automatic_import_id, EXACT_RECORDS + 1,
    )  # fmt: skip
    return Sweep(
        confirmed={row["external_id"] for row in rows},
        told={row["external_id"] for row in rows if row["told"]},
        is_first=not starts_over,
        is_told=len(rows) <= EXACT_RECORDS,
    )


async def conclude(imagined: Imagined, sweep: Sweep, deletions: Deletions) -> Mapping[str, Any] | None:
    """The reading of everything is complete. Returns what somebody would have to judge first, else None.

    The rest is told as if it were approved.
    """
    if sweep.seen is None:
        return None
    async with reading() as connection:
        known, missed, again = await _missed(connection, imagined.turn, sweep)
        await learn_entries(imagined, connection, list(missed))
    sweep.is_told &= max(len(missed), len(again)) <= EXACT_RECORDS
    sweep.confirmed |= again
    noted = missed - sweep.confirmed
    sweep.expected, sweep.noted, sweep.seen, sweep.is_first = sweep.seen, noted, None, False
    there = {external_id for external_id in missed if _is_there(imagined.known.entries.get(external_id))}
    deletions.missing, missing = len(there & noted), len(there)
    if missing <= settings().review_missing_count or missing * 100 <= settings().review_missing_percent * known:
        return None
    return {"kind": sweeps.MISSING, "known": known, "affected": missing, "missing": missing}


async def _missed(connection: Connection, turn: Turn, sweep: Sweep) -> tuple[int, set[str], set[str]]:
    """How many records were expected, those that were missed for the first time, and those for the second."""
    seen = sweep.seen or set()
    if not sweep.is_first:
        return len(sweep.expected), sweep.expected - seen, sweep.noted - seen - sweep.acted
    row = await connection.fetchrow(
        f"""
        WITH expected AS (
            -- Also what one saw that is under way: it is given up, and all of that expected of this one.
            {sweeps.SEEN} UNION SELECT unnest($3::text[])
        )
        SELECT (SELECT count(*) FROM expected) AS known,
            ARRAY(SELECT external_id FROM expected EXCEPT SELECT unnest($4::text[]) LIMIT $6) AS missed,
            ARRAY(SELECT external_id FROM missing_record WHERE account_id = $1 AND automatic_import_id = $2
                AND NOT confirmed EXCEPT SELECT unnest($5::text[])
                -- What the one under way saw came back.
                EXCEPT SELECT unnest(p.external_ids) FROM sweep_page p JOIN automatic_import i USING (account_id, sweep)
                WHERE p.account_id = $1 AND p.automatic_import_id = $2 AND i.id = $2 AND i.sweep_started_at IS NOT NULL
                LIMIT $6) AS again
        """,
        turn.account_id, turn.automatic_import_id, list(sweep.expected), list(seen),
        list(seen | sweep.acted | sweep.back),
        EXACT_RECORDS + 1,
    )  # fmt: skip
    return row["known"], set(row["missed"]), set(row["again"])


async def act(imagined: Imagined, sweep: Sweep, deletions: Deletions) -> bool:
    """Act on up to 500 records that count as deleted. Returns whether there was one."""
    batch = sorted(sweep.confirmed)[:MAX_RECORDS]
    if not batch:
        return False
    async with reading() as connection:
        await learn_items(imagined, connection, batch)
        gone = [entry for entry in map(imagined.known.entries.get, batch) if _is_there(entry)]
        for entry in gone:
            _delete(imagined, entry)
        released = {entry.email_key for entry in gone if entry.state in KEEPS_ADDRESS or entry.due}
        await name_successors(imagined, connection, {key for key in released if key is not None})
        contacts = await _gone_for_good(imagined, sweep, connection, gone)
    sweep.confirmed.difference_update(batch)
    sweep.told.difference_update(batch)
    sweep.acted.update(batch)
    deletions.deleted += len(gone)
    match imagined.known.rules.deletion_policy:
        case DeletionPolicy.UNSUBSCRIBE:
            deletions.unsubscribed += _unsubscribe(imagined, contacts)
        case DeletionPolicy.TAG:
            deletions.tagged += _tag(imagined, contacts)
    return True


def _is_there(entry: Entry | None) -> TypeGuard[Entry]:
    return entry is not None and entry.state is not LedgerState.DELETED


def _delete(imagined: Imagined, entry: Entry) -> None:
    known = imagined.known
    if entry.email_key is not None and known.holders.get(entry.email_key) == entry.external_id:
        del known.holders[entry.email_key]
    imagined.line.move(
        (imagined.turn.automatic_import_id, entry.external_id),
        waited=entry.code is OutcomeCode.CONTACT_LIMIT, waits=False, email_key=None,
    )  # fmt: skip
    known.entries[entry.external_id] = replace(entry, state=LedgerState.DELETED, code=None, due=False)


async def _gone_for_good(
    imagined: Imagined, sweep: Sweep, connection: Connection, gone: Sequence[Entry]
) -> Sequence[Draft]:
    """The contacts that no other record of the service has, be it one that waits for the address (R6)."""
    known, turn = imagined.known, imagined.turn
    linked = [entry for entry in gone if entry.state is LedgerState.LINKED]
    loaded = await load(
        connection, turn, imagined.reading, [imagined.items[entry.external_id] for entry in linked],
        entries=known.entries, siblings=known.siblings, fields=known.fields, lock=False, lock_account=False,
    )  # fmt: skip
    learn(known, loaded)
    held, wanted = await _held(imagined, sweep, connection, linked)
    ids = {entry.contact_id for entry in linked if entry.contact_id not in held and entry.email_key not in wanted}
    return [known.contacts[contact_id] for contact_id in ids if contact_id in known.contacts]


async def _held(
    imagined: Imagined, sweep: Sweep, connection: Connection, linked: Sequence[Entry]
) -> tuple[set[UUID | None], set[str | None]]:
    """The contacts that some record of the service has, and the addresses for which one waits."""
    turn, every = imagined.turn, (imagined, *imagined.peers)
    rows = await connection.fetch(
        "SELECT l.automatic_import_id, external_id, code, contact_id, email_key,"
        "     l.automatic_import_id <> $5 AND i.deleted_at IS NULL AS elsewhere"
        " FROM ledger l JOIN automatic_import i ON i.account_id = l.account_id AND i.id = l.automatic_import_id"
        " WHERE l.account_id = $1 AND l.external_account_id = $2"
        " AND (l.state = 'LINKED' AND contact_id = ANY($3::uuid[])"
        "     OR l.state = 'SKIPPED' AND code = 'DUPLICATE_EMAIL' AND email_key = ANY($4::text[]))",
        turn.account_id, turn.external_account_id,
        [entry.contact_id for entry in linked], [entry.email_key for entry in linked], turn.automatic_import_id,
    )  # fmt: skip
    decided = {(each.turn.automatic_import_id, external_id) for each in every for external_id in each.known.entries}
    there = [tuple(row)[1:] for row in rows if (row["automatic_import_id"], row["external_id"]) not in decided] + [
        (entry.external_id, entry.code, entry.contact_id, entry.email_key, each is not imagined)
        for each in every
        for entry in each.known.entries.values()
        if entry.state is LedgerState.LINKED or entry.code is OutcomeCode.DUPLICATE_EMAIL
    ]
    held, wanted = set[UUID | None](), set[str | None]()
    for external_id, code, contact_id, email_key, elsewhere in there:
        if sweep.is_gone(external_id, elsewhere=elsewhere):
            continue
        if code == OutcomeCode.DUPLICATE_EMAIL:
            wanted.add(email_key)
        else:
            held.add(contact_id)
    return held, wanted


def _unsubscribe(imagined: Imagined, contacts: Collection[Draft]) -> int:
    mailed = [contact for contact in contacts if contact.status not in LOW]
    imagined.line.active -= sum(contact.status is ContactStatus.ACTIVE for contact in mailed)
    for contact in mailed:
        contact.status = ContactStatus.UNSUBSCRIBED
        imagined.known.suppressed[contact.email_key, None] = ContactStatus.UNSUBSCRIBED
    return len(mailed)


def _tag(imagined: Imagined, contacts: Collection[Draft]) -> int:
    tag_id, targets = imagined.known.rules.deletion_tag_id, imagined.known.targets
    tagged = {(contact.id, TAG, tag_id) for contact in contacts if tag_id is not None} - targets
    targets |= tagged
    return len(tagged)
