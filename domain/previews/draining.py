"""Let in who waits, as far as room reaches: before anything new is read, and where the import makes some (R11)."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from domain import database, fields
from domain.enums import Outcome, OutcomeCode
from domain.ingest.known import Known
from domain.ingest.rules import RULES, rules_of
from domain.ingest.transaction import MAX_RECORDS
from domain.previews.imagined import Imagined, decide, learn_items, reading
from domain.turns import Turn

ENTERED = (Outcome.CREATED, Outcome.UPDATED, Outcome.UNCHANGED)


async def add_others(imagined: Imagined, *, unstable_services: Collection[str]) -> list[Imagined]:
    """The other imports that have somebody in line; what one makes of a contact the next one sees."""
    mine = imagined.turn.automatic_import_id
    rows = await database.fetch(
        f"""
        SELECT i.id, i.external_account_id, e.service, e.window_used{RULES} FROM automatic_import i
        JOIN external_account e ON e.account_id = i.account_id AND e.id = i.external_account_id
        WHERE i.account_id = $1 AND i.id = ANY($2::uuid[]) ORDER BY i.id
        """,
        imagined.turn.account_id, list({import_id for import_id, _ in imagined.line.rows if import_id != mine}),
    )  # fmt: skip
    others = [_other(imagined, row, unstable_services) for row in rows]
    every = [imagined, *others]
    together = replace(
        imagined.reading,
        list_ids=list({list_id for each in every for list_id in each.reading.list_ids}),
        tag_ids=list({tag_id for each in every for tag_id in each.reading.tag_ids}),
    )
    for each in every:
        each.reading = together
        each.others = [other for other in every if other is not each]
    return others


def _other(imagined: Imagined, row: Mapping[str, Any], unstable_services: Collection[str]) -> Imagined:
    known = imagined.known
    turn = Turn(
        account_id=imagined.turn.account_id,
        external_account_id=row["external_account_id"],
        lease_token=None,
        automatic_import_id=row["id"],
        revision=0,
        service=row["service"],
        unstable_ids=row["service"] in unstable_services,
    )
    rules = rules_of(row, turn)
    shared = Known(
        rules=rules,
        entries={},
        siblings={},
        contacts=known.contacts,
        by_key=known.by_key,
        suppressed=known.suppressed,
        tombstones=known.tombstones,
        targets=known.targets,
    )
    return Imagined(turn=turn, known=shared, line=imagined.line, reading=rules)


async def drain(imagined: Imagined, others: Sequence[Imagined]) -> None:
    """Let in all for whom there is room, in their order, whichever import they are of.

    As if no external account's cap were in the way: those of the others may come later than the import's run.
    """
    line, imports = imagined.line, {each.turn.automatic_import_id: each for each in (imagined, *others)}
    while head := line.head(MAX_RECORDS):
        await _let_in(imports[head[0][0]], imagined, [external_id for _, external_id in head])
    line.let_in_unknown()


async def _let_in(one: Imagined, imagined: Imagined, external_ids: Sequence[str]) -> None:
    line = imagined.line
    one.known.fields = await _fields(one, imagined)
    async with reading() as connection:
        await learn_items(one, connection, external_ids)
    items = [
        replace(one.items[external_id], forced=True)
        for external_id in external_ids
        if external_id in one.known.entries and one.known.entries[external_id].code is OutcomeCode.CONTACT_LIMIT
    ]
    decided = await decide(one, items, {}, draining=True)
    entered = [each for each in decided.decisions if each.outcome in ENTERED and each.code is None]
    line.let_in += len(entered)
    if one.turn.external_account_id == imagined.turn.external_account_id:
        line.cost += decided.cost
    # Whoever is gone meanwhile, or is not let in after all, is not asked for again.
    for external_id in external_ids:
        _put_off(one, external_id)


def _put_off(one: Imagined, external_id: str) -> None:
    place = (one.turn.automatic_import_id, external_id)
    entry = one.known.entries.get(external_id)
    if entry is None or entry.code is not OutcomeCode.CONTACT_LIMIT:
        one.line.rows.pop(place, None)


async def _fields(one: Imagined, imagined: Imagined) -> Mapping[str, fields.KnownField]:
    if one.turn.service == imagined.turn.service:
        return imagined.known.fields
    return await fields.load(one.turn.account_id, one.turn.service)
