"""Worlds that a preview may be asked for in, made up at random, and what the source then sends."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from random import Random
from typing import Any

from connectors.base import Page
from domain.enums import ContactStatus, DeletionPolicy, OverwritePolicy
from domain.records import FieldSpec, FieldType, Record, SourceConsent

FIELDS = {
    spec.key: spec
    for spec in (
        FieldSpec(key="vip", title="VIP", type=FieldType.BOOLEAN),
        FieldSpec(key="total", title="Total spent", type=FieldType.NUMBER),
        FieldSpec(key="shoe", title="Shoe size", type=FieldType.TEXT, open_ended=True),
        FieldSpec(key="hat", title="Shoe size", type=FieldType.TEXT, open_ended=True),
        FieldSpec(key="_secret", title="Secret", type=FieldType.TEXT, open_ended=True),
    )
}
NAMES = "abcdef"
IDS = "1234567"
# Mostly somebody who is to be mailed: only so does anybody wait for room.
EMAILS = (None, "", "no address", "A@example.com", *(f"{name}@example.com" for name in NAMES * 3))
FIRST_NAMES = (None, *("Ann", "Bob") * 5, "A\0nn", "\ud800")
CONSENTS = (*SourceConsent, *(SourceConsent.GRANTED, SourceConsent.NOT_TRACKED) * 3)
VALUES: Mapping[str, Sequence[Any]] = {
    "vip": (None, True, "maybe"),
    "total": (None, 1, "3", "much"),
    "shoe": (None, "41", "42"),
    "hat": ("57",),
    "_secret": ("x",),
}
LIMITS = (0, 1, 2, 3, 4, 1000)
Pages = Sequence[tuple[Sequence[Record], Sequence[str]]]


class Sweeping(Enum):
    """Whether a reading is one of everything, which may have been left in the middle."""

    NO = 0
    BEGUN = 1
    COMPLETE = 2


SWEEPINGS = (*Sweeping, Sweeping.COMPLETE, Sweeping.COMPLETE)


class Kind(Enum):
    """What is previewed: a new import, an edit with new criteria, or one that keeps them."""

    NEW = 0
    STARTS_OVER = 1
    GOES_ON = 2


@dataclass(frozen=True, slots=True)
class Reading:
    """What the source sends from the beginning to the end, or until it has nothing more to say."""

    pages: Pages
    sweeping: Sweeping

    @property
    def steps(self) -> list[Page]:
        """As the connector does it."""
        is_sweep = self.sweeping is not Sweeping.NO
        return [
            Page(
                records=records,
                deleted_ids=deleted,
                checkpoint={"at": number},
                fields=FIELDS,
                sweep=is_sweep,
                complete=self.sweeping is Sweeping.COMPLETE and number == len(self.pages) - 1,
            )
            for number, (records, deleted) in enumerate(self.pages)
        ]


@dataclass(frozen=True, slots=True)
class World:
    """What is there before: an earlier import, others, contacts by status, what outlived some, and how many may be.

    `limits` are those while the others came, and now; `is_drained`: whoever has room by now is let in already.
    `is_strict`: the run stops for review where few records lose something, or are missing. The import that is
    previewed is of this `kind`, and then sends `reading`.
    """

    earlier: Sequence[Reading]
    neighbour: Reading
    stranger: Reading
    contacts: Mapping[str, ContactStatus]
    suppressed: Mapping[str, ContactStatus]
    tombstones: Sequence[str]
    limits: tuple[int, int]
    auto_upgrade: bool
    is_drained: bool
    is_strict: bool
    kind: Kind
    policy: OverwritePolicy
    deletions: DeletionPolicy
    reading: Reading


def world(number: int) -> World:
    """The world of this number."""
    rng = Random(number)
    is_strict = rng.random() < 0.3
    limits = rng.choice(LIMITS[:4]), rng.choice(LIMITS)
    reading = _reading(rng, most=5)
    return World(
        earlier=[_reading(rng, most=3) for _ in range(rng.randint(0, 3))],
        neighbour=_reading(rng, most=1, sweepings=(Sweeping.NO,)),
        stranger=_reading(rng, most=1, sweepings=(Sweeping.NO,)),
        contacts={name: rng.choice(list(ContactStatus)) for name in _some(rng, NAMES, most=2)},
        suppressed={
            name: rng.choice([ContactStatus.UNSUBSCRIBED, ContactStatus.BOUNCED]) for name in _some(rng, NAMES, most=2)
        },
        tombstones=_some(rng, NAMES, most=1),
        # Who waits for a judgement does not wait for room too: that draining comes in between is another matter.
        limits=(1000, 1000) if is_strict else limits,
        auto_upgrade=rng.random() < 0.3,
        is_drained=rng.random() < 0.3,
        is_strict=is_strict,
        kind=rng.choice([*Kind, Kind.GOES_ON]),
        policy=rng.choice(list(OverwritePolicy)),
        deletions=rng.choice(list(DeletionPolicy)),
        reading=_in_whole_pages(reading) if is_strict else reading,
    )


def _reading(rng: Random, *, most: int, sweepings: Sequence[Sweeping] = SWEEPINGS) -> Reading:
    sweeping = rng.choice(sweepings)
    number = rng.randint(0 if sweeping is Sweeping.NO else 1, most)
    return Reading([([_record(rng) for _ in range(rng.randint(0, 7))], _gone(rng)) for _ in range(number)], sweeping)


def _gone(rng: Random) -> Sequence[str]:
    return _some(rng, IDS, most=2) if rng.random() < 0.3 else ()


def _record(rng: Random) -> Record:
    return Record(
        external_id=rng.choice(IDS),
        email=rng.choice(EMAILS),
        first_name=rng.choice(FIRST_NAMES),
        phone=rng.choice((None, "1", "2")),
        consent=rng.choice(CONSENTS),
        values={key: rng.choice(values) for key, values in VALUES.items() if rng.random() < 0.4},
    )


def _some(rng: Random, names: str, *, most: int) -> Sequence[str]:
    return rng.sample(names, rng.randint(0, most))


def _in_whole_pages(reading: Reading) -> Reading:
    """No page has an id twice, nor a key that nobody declared.

    One that does is stored in parts, or makes fields first: stopped in between, some records are read once more.
    """
    pages = [({each.external_id: _declared(each) for each in records}, gone) for records, gone in reading.pages]
    return replace(reading, pages=[(list(records.values()), gone) for records, gone in pages])


def _declared(record: Record) -> Record:
    return replace(record, values={key: value for key, value in record.values.items() if not FIELDS[key].open_ended})
