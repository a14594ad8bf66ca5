"""R10: an automatic import sets nothing off, and its runs tell how much they kept silent."""

from domain import subscriptions
from domain.effects import ContactChange, Effects, Origin, announce
from domain.enums import ContactStatus
from domain.models import Contact, ImportRun, PlanTier, Subscription
from domain.records import SourceConsent
from tests.domain import undoing
from tests.domain.source import Source, record
from tests.factories import make_list
from tests.fakes import RecordingQueue


async def silenced() -> list[tuple[int, int, int]]:
    """Autoresponders, webhooks and notifications of each run."""
    return [
        (run.silenced_autoresponders, run.silenced_webhooks, run.silenced_notifications)
        async for run in ImportRun.all().order_by("id")
    ]


async def test_a_new_contact_would_have_been_a_webhook_and_for_each_list_a_greeting_and_a_notice(
    source: Source,
) -> None:
    for _ in range(2):
        await source.target(list_id=(await make_list(source.account_id)).id)

    await source.send(record("a"), record("b"), record("none", None))

    assert await silenced() == [(4, 2, 4)]


async def test_whoever_has_not_agreed_joins_no_list(source: Source) -> None:
    await source.target(list_id=(await make_list(source.account_id)).id)

    await source.send(record("a", consent=SourceConsent.PENDING), record("b", consent=SourceConsent.DENIED))

    assert await silenced() == [(0, 2, 0)]


async def test_a_confirmation_joins_the_lists_of_the_import(source: Source) -> None:
    await source.target(list_id=(await make_list(source.account_id)).id)
    await source.send(record("a", consent=SourceConsent.PENDING))
    await source.send(record("a", consent=SourceConsent.GRANTED))

    assert await silenced() == [(1, 2, 1)]


async def test_an_opt_out_at_the_source_leaves_the_lists(source: Source) -> None:
    await source.target(list_id=(await make_list(source.account_id)).id)
    await source.send(record("a", consent=SourceConsent.GRANTED))
    await source.send(record("a", consent=SourceConsent.DENIED))

    assert await silenced() == [(1, 2, 2)]


async def test_what_a_page_would_have_set_off_is_told_record_by_record(source: Source) -> None:
    await source.target(list_id=(await make_list(source.account_id)).id)

    # Greeted by the first, gone by the second.
    await source.send(record("1", "ann@example.com"), record("2", "ann@example.com", consent=SourceConsent.DENIED))

    assert (await Contact.get()).status == ContactStatus.UNSUBSCRIBED
    assert await silenced() == [(1, 2, 2)]


async def test_an_opt_out_that_comes_with_an_address_which_left_the_list_leaves_it_all_the_same(source: Source) -> None:
    news = await make_list(source.account_id)
    await source.target(list_id=news.id)
    await source.send(record("a"), record("b"))
    b = await Contact.get(email_key="b@example.com")
    await subscriptions.set_status(
        undoing.viewer(source), b.id, ContactStatus.UNSUBSCRIBED, list_id=news.id, queue=RecordingQueue()
    )
    await source.send(record("b", "moved@example.com"))

    # The page that takes the contact from the list takes the list from the contact, too.
    await source.send(record("a", "b@example.com", consent=SourceConsent.DENIED))

    a = await Contact.get(email_key="b@example.com")
    assert a.status == ContactStatus.UNSUBSCRIBED
    assert (await Subscription.get(contact_id=a.id)).status == ContactStatus.UNSUBSCRIBED
    assert await silenced() == [(2, 4, 3)]


async def test_whoever_confirms_and_opts_out_in_one_page_joins_and_leaves(source: Source) -> None:
    await source.target(list_id=(await make_list(source.account_id)).id)
    await source.send(record("1", "a@example.com", consent=SourceConsent.PENDING))

    await source.send(
        record("1", "a@example.com", consent=SourceConsent.GRANTED),
        record("2", "a@example.com", consent=SourceConsent.DENIED),
    )

    assert (await Contact.get()).status == ContactStatus.UNSUBSCRIBED
    assert await silenced() == [(1, 3, 2)]


async def test_what_is_unchanged_would_have_set_nothing_off(source: Source) -> None:
    await source.send(record("a", phone="1"))
    await source.send(record("a", phone="1"))
    await source.send(record("a", phone="2"))

    assert await silenced() == [(0, 2, 0)]


async def test_whoever_is_let_in_from_the_waiting_room_is_not_greeted_either(source: Source) -> None:
    await source.target(list_id=(await make_list(source.account_id)).id)
    await PlanTier.all().update(contact_limit=0)
    await source.send(record("a"))
    await PlanTier.all().update(contact_limit=1)

    await source.let_in()

    assert (await Contact.get()).status == ContactStatus.ACTIVE
    assert await silenced() == [(0, 0, 0), (1, 1, 1)]


def test_only_an_automatic_import_is_silent() -> None:
    changes = [
        ContactChange(written=True, joined=2),
        ContactChange(written=False, left=1),
        ContactChange(written=False),
    ]

    assert announce(Origin.AUTOMATIC_IMPORT, changes) == Effects(autoresponders=2, webhooks=2, notifications=3)
    assert announce(Origin.API, changes) == Effects()
