"""Readings of everything that matches, and what they say about deletions (R16), in plain Python."""

from collections.abc import Iterable

from domain.enums import LedgerState
from tests.domain.model.account import Import
from tests.domain.model.passes import Review, Sweeps

MISSING = "MISSING"
MISSED_PERCENT, MISSED_COUNT = 30, 1
"""More than both is for somebody to judge."""


def saw(into: Import, external_ids: Iterable[str]) -> None:
    """A page of a sweep is stored; with the first one the sweep begins."""
    if into.sweeps.seen is None:
        into.sweeps.seen, into.sweeps.is_whole = set(), True
    into.sweeps.seen |= {*external_ids}


def met(into: Import, external_ids: set[str]) -> None:
    """These are new without a sweep's having seen all of their page: the next one is expected to see them."""
    into.sweeps.missed -= external_ids
    if into.sweeps.seen is None:
        into.sweeps.expected |= external_ids
    else:
        into.sweeps.seen |= external_ids


def conclude(into: Import, *, is_approved: bool = False) -> Review | None:
    """The sweep is complete: what it misses is noted, and deleted where the last one missed it too.

    Unless it misses so much that somebody has to judge first. A sweep of which a part was read with other
    credentials says nothing, and is no measure for the next.
    """
    sweeps = into.sweeps
    if sweeps.seen is None:
        return None
    if not sweeps.is_whole:
        into.sweeps = Sweeps(gone=sweeps.gone)
        return None
    missing = sweeps.expected - sweeps.seen
    # Silent: whom the service told to be deleted is missing, and nothing to judge.
    known = [each for each in missing if each in into.ledger and into.ledger[each].state is not LedgerState.DELETED]
    many = len(known) > MISSED_COUNT and len(known) * 100 > MISSED_PERCENT * len(sweeps.expected)
    if many and not is_approved:
        return Review(kind=MISSING, known=len(sweeps.expected), affected=len(known))
    gone = sweeps.gone | (sweeps.missed - sweeps.seen)
    into.sweeps = Sweeps(expected=sweeps.seen, missed=missing - gone, gone=gone)
    return None


def abandon(into: Import) -> None:
    """The sweep under way will not be completed; what it saw is expected of the next, and is missed no longer."""
    into.sweeps.expected |= into.sweeps.seen or set()
    into.sweeps.missed -= into.sweeps.seen or set()
    into.sweeps.seen = None


def forget(into: Import) -> None:
    """Criteria or credentials are others: what sweeps saw and missed is no measure any more."""
    under_way = None if into.sweeps.seen is None else set[str]()
    into.sweeps = Sweeps(seen=under_way, is_whole=under_way is None, gone=into.sweeps.gone)
