"""Whatever a source sends, in whatever order: the counts add up, and nothing is lost, doubled or left dangling."""

import asyncio
from collections.abc import Sequence

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from domain import database
from domain.enums import Outcome
from domain.records import Record, SourceConsent
from tests import databases
from tests.domain.source import FIELDS, Source, make_source

ADDRESSES = [None, "", "no address", *(f"{name}@example.com" for name in "abcd"), "A@example.com"]
VALUES = {
    "vip": st.sampled_from([None, True, "maybe"]),
    "total": st.sampled_from([None, 1, 2.5, "3"]),
    "shoe": st.sampled_from([None, "41", "42"]),
}
RECORDS = st.builds(
    Record,
    external_id=st.sampled_from("123456"),
    email=st.sampled_from(ADDRESSES),
    first_name=st.sampled_from([None, "Ann", "Bob", "A\0nn"]),
    phone=st.sampled_from([None, "1", "2"]),
    consent=st.sampled_from(list(SourceConsent)),
    values=st.fixed_dictionaries({}, optional=VALUES),
)
DELETED = st.lists(st.sampled_from("123456"), max_size=2)
LIMITS = st.sampled_from([0, 1, 2, 1000])
PAGES = st.lists(st.tuples(st.lists(RECORDS, max_size=6), DELETED, LIMITS), max_size=6)
Pages = Sequence[tuple[Sequence[Record], Sequence[str], int]]

INVARIANTS = {
    "a linked record has its contact": """
        SELECT count(*) FROM ledger l LEFT JOIN contact c ON c.account_id = l.account_id AND c.id = l.contact_id
        WHERE l.state = 'LINKED' AND c.id IS NULL""",
    "no contact is without its account": """
        SELECT count(*) FROM contact c WHERE NOT EXISTS (SELECT FROM account a WHERE a.id = c.account_id)""",
    "no ledger row is without its import": """
        SELECT count(*) FROM ledger l WHERE NOT EXISTS (SELECT FROM automatic_import i
            WHERE i.account_id = l.account_id AND i.external_account_id = l.external_account_id
                AND i.id = l.automatic_import_id)""",
    "every contact is some record's": """
        SELECT count(*) FROM contact c WHERE NOT EXISTS (SELECT FROM outcome o
            WHERE o.account_id = c.account_id AND o.contact_id = c.id AND o.outcome = 'CREATED')""",
    "the account counts its active contacts": """
        SELECT count(*) FROM account a
        WHERE active_contacts <> (SELECT count(*) FROM contact c WHERE c.account_id = a.id AND c.status = 'ACTIVE')""",
    "no address is held twice": """
        SELECT count(*) FROM (SELECT email_key FROM ledger WHERE state = 'LINKED' GROUP BY email_key
            HAVING count(*) > 1) doubles""",
    "no duplicate waits for an address that nobody holds, unless it is due": """
        SELECT count(*) FROM ledger d WHERE d.code = 'DUPLICATE_EMAIL' AND NOT EXISTS (
            SELECT FROM ledger h WHERE h.automatic_import_id = d.automatic_import_id AND h.email_key = d.email_key
                AND (h.state = 'LINKED' OR h.due OR h.state = 'WAITING'))""",
    "every stored outcome is counted": """
        SELECT count(*) FROM import_run r WHERE created_count + updated_count <> (
            SELECT count(*) FROM outcome o WHERE o.run_id = r.id AND o.outcome IN ('CREATED', 'UPDATED'))""",
}


async def send(source: Source, records: Sequence[Record], deleted: Sequence[str]) -> int:
    """Send the page as a cycle would, what is due first. Returns how many records were counted."""
    await ingest_all_due(source)
    counted = start = 0
    while True:
        stored = await source.send(*records, deleted=deleted, start=start)
        start += stored.consumed
        counted += sum(stored.counts.values())
        if start == len(records):
            return counted


async def ingest_all_due(source: Source) -> None:
    for _ in range(10):
        if await source.ingest_due() is None:
            return
    raise AssertionError("what is due never comes to an end")


async def check_invariants() -> None:
    broken = {name: (await database.fetch(query))[0]["count"] for name, query in INVARIANTS.items()}
    assert broken == dict.fromkeys(INVARIANTS, 0)


async def active() -> int:
    return int((await database.fetch("SELECT active_contacts FROM account"))[0]["active_contacts"])


async def send_all(pages: Pages) -> None:
    async with databases.fresh_database() as url:
        await database.open_database(url)
        try:
            source = await make_source()
            source.specs = FIELDS
            for records, deleted, limit in pages:
                await database.fetch("UPDATE plan_tier SET contact_limit = $1", limit)
                before = await active()
                assert await send(source, records, deleted) == len(records)
                await check_invariants()
                # A lower limit deactivates nobody; a higher one is reached, never passed.
                assert await active() <= max(before, limit)
            await send(source, [], [])
            await check_again(source, pages)
        finally:
            await database.close_database()


async def check_again(source: Source, pages: Pages) -> None:
    """The last page once more writes nothing."""
    records = list({record.external_id: record for records, _, _ in pages for record in records}.values())
    await send(source, records, [])
    await send(source, [], [])
    await send(source, records, [])
    await ingest_all_due(source)
    stored = await source.send(*records)
    assert stored.counts[Outcome.CREATED] == 0
    assert stored.counts[Outcome.UPDATED] == 0
    await check_invariants()


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(PAGES)
def test_whatever_is_sent_the_books_balance(pages: Pages) -> None:
    asyncio.run(send_all(pages))
