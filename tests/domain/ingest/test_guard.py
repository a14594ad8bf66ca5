"""The guard against accidents: what would blank values, change addresses or lower consent for many is judged first."""

from collections.abc import Sequence
from typing import Any

import pytest

from domain import import_runs, reviews
from domain.account import Viewer
from domain.enums import ContactStatus, ImportState, Outcome, RunState
from domain.errors import ErrorCode, Refused
from domain.models import AutomaticImport, Contact, ExternalAccount, ImportRun
from domain.records import Record, SourceConsent
from tests.configuration import Configure
from tests.domain.source import Source, record
from tests.fakes import RecordingQueue


def people(number: int, **values: Any) -> Sequence[Record]:
    return [record(f"p{n}", **values) for n in range(number)]


def viewer(source: Source) -> Viewer:
    return Viewer(account_id=source.account_id, token_id=source.account_id, scopes=frozenset())


async def the_run() -> ImportRun:
    return await ImportRun.get(state="NEEDS_REVIEW")


async def is_stopped() -> bool:
    return (await AutomaticImport.get()).state == ImportState.NEEDS_REVIEW


@pytest.fixture(autouse=True)
def _figures(configure: Configure) -> None:
    configure(review_changed_count=3, review_changed_percent=50)


BEFORE = {"values": {"note": "n"}, "consent": SourceConsent.GRANTED}
ACCIDENTS: dict[str, dict[str, Any]] = {
    "blanked": {"values": {"note": None}},
    "address_changed": {"email": "p{}@example.org"},
    "consent_lowered": {"consent": SourceConsent.DENIED},
}


def before(number: int) -> Sequence[Record]:
    return people(number, **BEFORE)


def after(name: str, number: int) -> Sequence[Record]:
    values = {"email": "p{}@example.com"} | BEFORE | ACCIDENTS[name]
    return [record(f"p{n}", **values | {"email": values["email"].format(n)}) for n in range(number)]


@pytest.mark.parametrize("name", ACCIDENTS)
async def test_an_accident_stops_the_import_and_nothing_of_its_page_is_written(source: Source, name: str) -> None:
    await source.send(*before(6), checkpoint={"at": 1})
    kept = await Contact.all().order_by("email").values()

    stored = await source.send(*after(name, 4), *before(6)[4:], checkpoint={"at": 2})

    run = await the_run()
    assert (stored.in_review, stored.consumed) == (True, 0)
    assert await is_stopped()
    assert await source.checkpoint() == {"at": 1}
    assert await Contact.all().order_by("email").values() == kept
    assert run.review is not None
    figures = {key: value for key, value in run.review.items() if key not in {"kind", "examples"}}
    assert figures == {"known": 6, "affected": 4, "blanked": 0, "address_changed": 0, "consent_lowered": 0} | {name: 4}


@pytest.mark.parametrize("name", ACCIDENTS)
@pytest.mark.parametrize("changed", [3, 4])
async def test_few_or_a_small_part_never_stop_it(source: Source, name: str, changed: int) -> None:
    # Three are few; four of eight are no more than half.
    await source.send(*before(8))

    await source.send(*after(name, changed), *before(8)[changed:])

    assert not await is_stopped()


async def test_the_figures_add_up_over_the_pages_of_a_pass(source: Source) -> None:
    everyone = before(8)
    await source.send(*everyone[:4])
    await source.send(*everyone[4:])

    await source.send(*after("blanked", 3), everyone[3])
    assert not await is_stopped()
    await source.send(*after("blanked", 6)[4:], *everyone[6:])

    run = await the_run()
    assert run.review is not None
    assert (run.review["known"], run.review["affected"]) == (8, 5)
    # The first page is written, the second is not.
    assert await Contact.filter(field_values={}).count() == 3


async def test_an_address_that_vanishes_for_many_is_an_accident(source: Source) -> None:
    await source.send(*people(4))

    await source.send(*(record(f"p{n}", None) for n in range(4)))

    assert await is_stopped()


async def test_new_records_and_first_links_are_no_accident(source: Source) -> None:
    stored = await source.send(*people(6, consent=SourceConsent.DENIED))

    assert stored.counts[Outcome.CREATED] == 6
    assert not await is_stopped()


async def test_examples_name_fields_by_the_services_own_names(source: Source) -> None:
    await source.send(*people(4, values={"note": "n"}))

    await source.send(*people(4, values={"note": None}))

    review = (await the_run()).review
    assert review is not None
    assert review["examples"] == [
        {
            "external_id": f"p{n}",
            "email": f"p{n}@example.com",
            "before": {"note": "n"},
            "after": {"note": None},
        }
        for n in range(4)
    ]


@pytest.mark.parametrize("address", ["P{}@example.org", "nobody", None])
async def test_examples_show_the_address_where_it_changed(source: Source, address: str | None) -> None:
    await source.send(*(record(f"p{n}", f"P{n}@example.com", values={"note": "n"}) for n in range(4)))
    addresses = [address and address.format(n) for n in range(4)]

    await source.send(*(record(f"p{n}", addresses[n], values={"note": "n"}) for n in range(4)))

    review = (await the_run()).review
    assert review is not None
    assert review["examples"] == [
        {
            "external_id": f"p{n}",
            "email": f"p{n}@example.com",
            "before": {"email": f"P{n}@example.com"},
            "after": {"email": addresses[n]},
        }
        for n in range(4)
    ]


async def test_an_example_that_moves_shows_the_address_that_its_contact_has(source: Source) -> None:
    await source.send(*people(4))
    await Contact.filter(email_key="p0@example.com").update(email="here@example.com", email_key="here@example.com")

    await source.send(*(record(f"p{n}", f"p{n}@example.org") for n in range(4)))

    review = (await the_run()).review
    assert review is not None
    there = [f"p{n}@example.com" for n in (1, 2, 3)]
    assert review["examples"] == [
        {"external_id": f"p{n}", "email": f"p{n}@example.com", "before": {"email": email}, "after": {"email": moved}}
        for n, (email, moved) in enumerate(
            zip(["here@example.com", *there], [f"p{n}@example.org" for n in range(4)], strict=True)
        )
    ]


async def test_approved_the_pass_goes_on_to_its_end_unasked(source: Source) -> None:
    await source.send(*people(8, values={"note": "n"}))
    await source.send(*people(4, values={"note": None}))
    queue = RecordingQueue()

    await reviews.approve(viewer(source), (await the_run()).id, queue=queue)
    source.revision += 1
    await source.send(*people(4, values={"note": None}))
    await source.send(*people(8, values={"note": None})[4:])

    run = await ImportRun.all().order_by("-id").first()
    external_account = await ExternalAccount.get()
    assert run is not None
    assert run.review is not None
    assert (run.state, run.cancel_requested, "examples" in run.review) == (RunState.QUEUED, False, False)
    assert run.stopped_by is None
    assert not await is_stopped()
    assert await Contact.filter(field_values={}).count() == 8
    assert external_account.next_cycle_at is not None
    assert queue.woken == 1


async def test_dropped_the_import_is_paused_and_nothing_is_written(source: Source) -> None:
    await source.send(*people(4, values={"note": "n"}), checkpoint={"at": 1})
    await source.send(*people(4, values={"note": None}), checkpoint={"at": 2})
    run = await the_run()

    await reviews.drop(viewer(source), run.id)

    automatic_import = await AutomaticImport.get()
    await run.refresh_from_db()
    assert (automatic_import.state, automatic_import.guard, automatic_import.checkpoint) == ("PAUSED", {}, {"at": 1})
    assert (run.state, run.stopped_by) == ("CANCELLED", "REVIEW")
    assert await Contact.filter(field_values={}).count() == 0


async def test_what_does_not_wait_for_review_cannot_be_judged(source: Source) -> None:
    await source.send(*people(1))
    run = await ImportRun.get()

    with pytest.raises(Refused) as refused:
        await reviews.approve(viewer(source), run.id, queue=RecordingQueue())
    assert [problem.code for problem in refused.value.problems] == [ErrorCode.INVALID]
    with pytest.raises(Refused) as refused:
        await reviews.drop(viewer(source), source.automatic_import_id)
    assert [problem.code for problem in refused.value.problems] == [ErrorCode.NOT_FOUND]


async def test_a_run_in_review_is_judged_not_cancelled(source: Source) -> None:
    await source.send(*before(6))
    await source.send(*after("blanked", 6))
    run = await the_run()

    with pytest.raises(Refused) as refused:
        await import_runs.cancel(source.account_id, run.id)

    await run.refresh_from_db()
    assert [problem.code for problem in refused.value.problems] == [ErrorCode.NEEDS_REVIEW]
    assert (run.state, run.cancel_requested) == (RunState.NEEDS_REVIEW, False)


async def test_an_opt_out_here_is_not_the_sources_doing(source: Source) -> None:
    await source.send(*people(6, consent=SourceConsent.GRANTED))
    await Contact.all().update(status=ContactStatus.UNSUBSCRIBED)

    await source.send(*people(6, consent=SourceConsent.GRANTED, first_name="Ann"))

    assert not await is_stopped()
