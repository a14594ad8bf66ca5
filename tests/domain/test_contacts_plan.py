"""Whatever a user gives and whatever is known: a plan lowers consent or leaves it, and keeps to the room there is."""

from collections.abc import Mapping
from datetime import UTC, datetime
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from domain.consent import is_lower
from domain.contacts.given import Wish
from domain.contacts.plan import Known, plan
from domain.contacts.reading import Contact
from domain.emails import Email
from domain.enums import ContactStatus

LISTS = [UUID(int=number) for number in range(1, 4)]
TAGS = [UUID(int=number) for number in range(4, 6)]
KEYS = [f"{name}@example.com" for name in "abcd"]
LOW = st.sampled_from([ContactStatus.UNSUBSCRIBED, ContactStatus.BOUNCED])
STATUSES = st.sampled_from(list(ContactStatus))
SUPPRESSED = st.dictionaries(st.tuples(st.sampled_from(KEYS), st.none() | st.sampled_from(LISTS)), LOW)
WISHES = st.lists(
    st.builds(
        Wish,
        email=st.sampled_from([Email(address=key, key=key) for key in KEYS]),
        columns=st.fixed_dictionaries({}, optional={"first_name": st.sampled_from(["Ann", None])}),
        values=st.fixed_dictionaries({}, optional={"field": st.sampled_from([1, None])}),
        status=st.none() | STATUSES,
        list_ids=st.lists(st.sampled_from(LISTS), unique=True),
        tag_ids=st.lists(st.sampled_from(TAGS), unique=True),
        problems=st.just(()),
    ),
    max_size=6,
)


def contact(number: int, key: str, status: ContactStatus) -> Contact:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    return Contact(UUID(int=100 + number), key, key, None, None, None, status, {}, now, now)


@st.composite
def knowns(draw: st.DrawFn) -> Known:
    people = [contact(number, key, draw(STATUSES)) for number, key in enumerate(KEYS[:2])]
    subscriptions: Mapping[UUID, Mapping[UUID, ContactStatus]] = {
        person.id: draw(st.dictionaries(st.sampled_from(LISTS), STATUSES)) for person in people
    }
    return Known(
        by_key={person.email_key: person for person in people},
        suppressed=draw(SUPPRESSED),
        subscriptions=subscriptions,
    )


@given(wishes=WISHES, known=knowns(), room=st.integers(0, 4))
def test_nothing_is_raised_and_no_room_is_overdrawn(wishes: list[Wish], known: Known, room: int) -> None:
    changes = plan(wishes, known, room=room)

    assert len(changes) == len(wishes)
    made = [change for change in changes if change is not None]
    for change in made:
        before, after = change.before, change.after
        if before is None:
            assert not is_lower(known.suppressed.get((after.email_key, None), after.status), after.status)
        else:
            assert not is_lower(before.status, after.status)
        for list_id, status in change.lists.items():
            had = change.subscriptions.get(list_id)
            assert had is None or not is_lower(had, status)
            assert not is_lower(known.suppressed.get((after.email_key, list_id), status), status)
    assert sum(change.active_delta for change in made) <= room


@given(wishes=WISHES, known=knowns())
def test_the_same_wishes_again_change_nothing(wishes: list[Wish], known: Known) -> None:
    by_key, subscriptions, tags = dict(known.by_key), dict(known.subscriptions), dict(known.tags)
    for change in plan(wishes, known, room=10):
        assert change is not None
        by_key[change.after.email_key] = change.after
        subscriptions[change.after.id] = {**change.subscriptions, **change.lists}
        tags[change.after.id] = tags.get(change.after.id, frozenset()) | {*change.tags}
    last = {wish.email.key: wish for wish in wishes if wish.email is not None}
    then = Known(by_key=by_key, suppressed=known.suppressed, subscriptions=subscriptions, tags=tags)

    again = plan(list(last.values()), then, room=10)

    assert [bool(change) for change in again] == [False] * len(last)
