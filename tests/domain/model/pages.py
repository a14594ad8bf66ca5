"""A page, stored: its records, and what else it says (R4, R14, R16), in plain Python."""

from collections.abc import Sequence
from copy import deepcopy

from connectors.base import Page
from domain.enums import ImportState, LedgerState, RunState, RunStop
from domain.records import Record
from tests.domain.model import sweeping
from tests.domain.model.account import Account, Import
from tests.domain.model.guard import CHANGED_COUNT, review_of
from tests.domain.model.passes import Review
from tests.domain.model.runs import run_with_news
from tests.domain.model.storing import store
from tests.domain.model.writing import tell_deleted


def store_page(account: Account, into: Import, page: Page, rest: Sequence[Record], left: int) -> Sequence[Record]:
    """Store of the page's `rest` what may be written. Returns what is behind the cut.

    The checkpoint, tombstones and the end of a sweep are true once all of it is stored. What somebody has to judge
    stops the import: of a page before it is stored, of a sweep before its end is acted on.
    """
    if review := judge(account, into, rest, left):
        stop(into, review)
        return rest
    known = {external_id for external_id, entry in into.ledger.items() if entry.state is not LedgerState.DELETED}
    stored = store(account, into, rest, left)
    if not page.sweep or stored < len(rest):
        sweeping.met(into, {record.external_id for record in rest[:stored]} - known)
    if stored < len(rest):
        return rest[stored:]
    into.checkpoint = page.checkpoint
    if page.sweep:
        sweeping.saw(into, [record.external_id for record in page.records])
    delete(account, into, page.deleted_ids, is_told=True)
    if page.complete and (review := sweeping.conclude(into)):
        stop(into, review)
    return []


def delete(account: Account, into: Import, external_ids: Sequence[str], *, is_told: bool) -> None:
    """R16: these are deleted at the source."""
    with account.making_room():
        gone, silenced = tell_deleted(account, into, external_ids, is_told=is_told)
    if gone:
        run = run_with_news(into)
        run.deleted, run.silenced = run.deleted + gone, run.silenced + silenced


def judge(account: Account, into: Import, records: Sequence[Record], left: int) -> Review | None:
    """What somebody has to judge before any of it is stored, if that is so: it is stored on a copy of everything."""
    rows = [(record, into.ledger.get(record.external_id)) for record in records]
    linked = [(record, row) for record, row in rows if row and row.state is LedgerState.LINKED]
    if into.under_way.affected + sum(row.seen != record for record, row in linked) <= CHANGED_COUNT:
        return None
    if all(row and row.seen == record and row.state is not LedgerState.DELETED for record, row in rows):
        return None
    trial, its = deepcopy((account, into))
    stored = store(trial, its, records, left)
    behind = [record for record, row in linked if record in records[stored:] and row.seen == record]
    return review_of(its, len(behind))


def stop(into: Import, review: Review) -> None:
    """The import is not read until somebody has judged."""
    run = run_with_news(into)
    run.state, run.stopped_by, run.review = RunState.NEEDS_REVIEW, RunStop.REVIEW, review
    into.state = ImportState.NEEDS_REVIEW
