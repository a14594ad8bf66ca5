"""Histories that could happen to an account, made up at random, and made short when one of them shows something."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from random import Random
from typing import Any

from domain.enums import ContactStatus, DeletionPolicy, OverwritePolicy
from domain.records import Record, SourceConsent
from tests.domain.model.service import EVERYBODY, FRIENDS, Fault, Planned

KEYS = tuple(f"{name}@example.com" for name in ("ann", "bob", "cid", "dan", "eve"))
BOOKS = ("home", "shop")
IMPORTS = ("all", "friends", "customers")
LISTS = ("News", "Friends")
IDS = ("1", "2", "3", "4", "5", "6")
LIMITS = (1, 2, 3, 1000)
ATTRIBUTES: Mapping[str, Sequence[Any]] = {
    "email": (*KEYS * 3, "ANN@example.com", None, "no address"),
    "first_name": (None, *("Ann", "Bob", "Cid") * 3, "Poison\0"),
    "phone": (None, "1", "2"),
    "consent": (*[SourceConsent.GRANTED] * 3, *SourceConsent),
    "values": ({}, {"total": 1}, {"total": 2.5, "note": "x"}, {"total": None}, {"total": "many"}, {"note": None}),
}


class Then(Enum):
    """What happens after a step, before all that can be seen is compared."""

    NOTHING = "nothing"
    WORK = "a worker looks what there is to do"
    MOMENT = "a moment passes, and a worker looks"
    WINDOW = "a window passes, and a worker looks"


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What a history begins with."""

    people: Sequence[tuple[str, Record, str]]
    limit: int
    names: OverwritePolicy
    phones: OverwritePolicy
    deletions: DeletionPolicy
    absences: DeletionPolicy


@dataclass(frozen=True, kw_only=True)
class Step:
    """Something that happens, by the name of the method that plays it, and what happens then."""

    name: str
    arguments: Mapping[str, Any]
    then: Then

    def __repr__(self) -> str:
        told = ", ".join(f"{name}={value!r}" for name, value in self.arguments.items())
        return f"{self.name}({told}), then {self.then.value}"


def setting(rng: Random) -> Setting:
    """A few people at each service, a plan and policies."""
    return Setting(
        people=[(rng.choice(BOOKS), record(rng), group(rng)) for _ in range(rng.randint(6, 12))],
        limit=rng.choice(LIMITS),
        names=rng.choice(list(OverwritePolicy)),
        phones=rng.choice(list(OverwritePolicy)),
        deletions=rng.choice(list(DeletionPolicy)),
        absences=rng.choice(list(DeletionPolicy)),
    )


def record(rng: Random) -> Record:
    """A person as a service may know it."""
    return Record(external_id=rng.choice(IDS), **{name: rng.choice(values) for name, values in ATTRIBUTES.items()})


def group(rng: Random) -> str:
    """Where a person belongs, or what an import reads."""
    return rng.choice((EVERYBODY, FRIENDS))


STEPS: Mapping[str, tuple[int, Callable[[Random], Mapping[str, Any]]]] = {
    "somebody_appears_or_changes": (
        6, lambda rng: {"book": rng.choice(BOOKS), "record": record(rng), "group": group(rng)},
    ),
    "one_thing_changes": (8, lambda rng: {"book": rng.choice(BOOKS), "external_id": rng.choice(IDS), **one_thing(rng)}),
    "somebody_is_deleted_there": (3, lambda rng: {"book": rng.choice(BOOKS), "external_id": rng.choice(IDS)}),
    "many_are_deleted_there": (
        2, lambda rng: {"book": rng.choice(BOOKS), "external_ids": some(rng, IDS)},
    ),
    "many_change": (
        3, lambda rng: {"book": rng.choice(BOOKS), "external_ids": some(rng, IDS), **one_thing(rng)},
    ),
    "a_request_meets": (2, lambda rng: {"book": rng.choice(BOOKS), "planned": fault(rng)}),
    "time_passes": (2, lambda _: {}),
    "pause": (1, lambda rng: {"name": rng.choice(IMPORTS)}),
    "resume": (2, lambda rng: {"name": rng.choice(IMPORTS)}),
    "run_now": (1, lambda rng: {"name": rng.choice(IMPORTS)}),
    "change_criteria": (1, lambda rng: {"name": rng.choice(IMPORTS), "group": group(rng)}),
    "change_targets": (
        1,
        lambda rng: {
            "name": rng.choice(IMPORTS), "lists": some(rng, LISTS), "tags": some(rng, ("home", "shop")),
        },
    ),
    "make_anew": (1, lambda rng: {"name": rng.choice(IMPORTS), "undoing": rng.random() < 0.3}),
    "approve": (4, lambda rng: {"name": rng.choice(IMPORTS)}),
    "drop": (1, lambda rng: {"name": rng.choice(IMPORTS)}),
    "retry": (1, lambda rng: {"name": rng.choice(IMPORTS)}),
    "undo": (
        2,
        lambda rng: {"name": rng.choice(IMPORTS), "back": rng.randint(0, 3), "and_later": rng.random() < 0.5},
    ),
    "undo_of_deleted": (
        1,
        lambda rng: {"which": rng.randint(0, 3), "back": rng.randint(0, 3), "and_later": rng.random() < 0.5},
    ),
    "reconnect": (2, lambda rng: {"book": rng.choice(BOOKS)}),
    "another_plan": (2, lambda rng: {"limit": rng.choice(LIMITS)}),
    "set_auto_upgrade": (1, lambda rng: {"enabled": rng.random() < 0.5, "ceiling": rng.choice(LIMITS)}),
    "create_contact": (1, lambda rng: {"key": rng.choice(KEYS), "first_name": rng.choice(("Ann", "Cid"))}),
    "correct_name": (1, lambda rng: {"key": rng.choice(KEYS), "first_name": rng.choice(("Bob", "Cid"))}),
    "correct_address": (2, lambda rng: {"key": rng.choice(KEYS), "new": rng.choice(KEYS)}),
    "set_status": (2, lambda rng: {"key": rng.choice(KEYS), "status": rng.choice(list(ContactStatus))}),
    "set_subscription": (
        1,
        lambda rng: {
            "key": rng.choice(KEYS), "name": rng.choice(LISTS), "status": rng.choice(list(ContactStatus)),
        },
    ),
    "delete_contact": (1, lambda rng: {"key": rng.choice(KEYS), "erase": rng.random() < 0.3}),
}  # fmt: skip
"""What can happen, how often, and with what."""


def some(rng: Random, names: Sequence[str]) -> Sequence[str]:
    """None of them, some or all."""
    return [name for name in names if rng.random() < 0.5]


def one_thing(rng: Random) -> Mapping[str, Any]:
    """One attribute, and its new value."""
    name = rng.choice(list(ATTRIBUTES))
    return {"name": name, "value": rng.choice(ATTRIBUTES[name])}


def fault(rng: Random) -> Planned:
    """Something that goes wrong, with one of the next requests."""
    return Planned(fault=rng.choice(list(Fault)), after=rng.randint(0, 3), meanwhile=rng.choice(IMPORTS))


def history(rng: Random, length: int) -> list[Step]:
    """So many steps. In each history some kinds happen often, and some never: what is rare altogether meets itself."""
    names, weights = list(STEPS), [weight * rng.choice((0, 1, 1, 5)) for weight, _ in STEPS.values()]
    return [
        Step(name=name, arguments=STEPS[name][1](rng), then=rng.choice([*Then, Then.WINDOW]))
        for name in rng.choices(names, weights, k=length)
    ]


async def shortest(
    steps: Sequence[Step], people: Sequence[Any], fails: Callable[[Sequence[Step], Sequence[Any]], Awaitable[bool]]
) -> tuple[list[Step], list[Any]]:
    """What is left when everything is taken out without which it still `fails`."""
    parts: tuple[list[Any], list[Any]] = (list(steps), list(people))
    for which in (0, 1):
        size = max(1, len(parts[which]) // 2)
        while True:
            start = 0
            while start < len(parts[which]):
                tried = [list(part) for part in parts]
                del tried[which][start : start + size]
                if await fails(*tried):
                    parts[which][:] = tried[which]
                else:
                    start += size
            if size == 1:
                break
            size //= 2
    return parts
