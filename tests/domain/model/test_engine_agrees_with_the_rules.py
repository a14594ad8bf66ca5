"""Whatever happens at the source, here and in between, in whatever order: the engine agrees with the rules.

A history is made up at random. Each of its steps is taken by a model of product.md in plain Python and by the real
engine, and after each all that can be seen of both is the same: contacts, consent, ledger, waiting room, runs with
their counts and outcomes, the cap. One that tells them apart is shown in its shortest form.

`SLUICE_TEST_HISTORIES=1000:3000` plays other histories, by number, than the suite does.
"""

import os
from collections.abc import Sequence
from dataclasses import replace
from random import Random
from typing import Any

import pytest

from domain.enums import ContactStatus, ImportState
from domain.records import Record
from tests import databases
from tests.configuration import Configure
from tests.domain.model import guard, here, plans, sweeping
from tests.domain.model.account import Account, ExternalAccount, Import
from tests.domain.model.cycles import Cycles
from tests.domain.model.engine import Engine, make_engine
from tests.domain.model.histories import BOOKS, KEYS, LIMITS, Setting, Step, Then, history, setting, shortest
from tests.domain.model.invariants import check_consent, check_invariants, statuses
from tests.domain.model.observation import differences, observed, predicted
from tests.domain.model.service import EVERYBODY, FRIENDS, Book, Planned

FIRST, LAST = (int(number) for number in os.environ.get("SLUICE_TEST_HISTORIES", "0:24").split(":"))
STEPS = 30
CAP = 4
CYCLE_SECONDS = 7 * 3600.0
"""Longer than the test may take; two and a half of it are shorter than what a service may ask to be left alone for."""
A_MOMENT = 60.0
USERS_WORDS = {"set_status", "set_subscription"}
"""The steps that may raise consent, before anything else happens."""


class Play:
    """One account with two external accounts, one of which two imports read: as it should be, and as it is."""

    def __init__(self, begin: Setting) -> None:
        self.books = {name: Book(tells_changes=name == "home") for name in BOOKS}
        for book, record, group in begin.people:
            self.books[book].put(record, group)
        self.account = Account(cap=CAP, cycle_seconds=CYCLE_SECONDS, limit=begin.limit, plans=LIMITS)
        self.account.external_accounts = {name: ExternalAccount(name=name) for name in BOOKS}
        self.model = Cycles(account=self.account, books=self.books)
        for new in (
            Import(
                name="all", external_account="home", group=EVERYBODY, lists=("News",), tags=("home",),
                deletions=begin.deletions, deletion_tag="gone",
            ),
            Import(
                name="friends", external_account="home", group=FRIENDS, lists=("News", "Friends"), phones=begin.phones
            ),
            Import(
                name="customers", external_account="shop", group=EVERYBODY, tags=("shop",), names=begin.names,
                deletions=begin.absences, deletion_tag="gone",
            ),
        ):  # fmt: skip
            here.add_import(self.account, new)
        self.engine: Engine

    async def begin(self) -> None:
        """Set the engine up like the model; the first runs start at once."""
        await databases.emptied_database()
        self.engine = await make_engine(self.account, self.books)
        await self.go_on(Then.WORK)

    async def take(self, step: Step) -> None:
        """Take a step; what happens then is part of it."""
        before = await statuses()
        with self.account.making_room():
            await getattr(self, step.name)(**step.arguments)
        if step.name in USERS_WORDS:
            before = await statuses()
        await self.go_on(step.then)
        check_consent(before, await statuses())

    async def go_on(self, then: Then) -> None:
        if then in (Then.MOMENT, Then.WINDOW):
            seconds = A_MOMENT if then is Then.MOMENT else CYCLE_SECONDS
            self.account.now += seconds
            await self.engine.pass_time(seconds)
        if then is not Then.NOTHING:
            self.model.work()
            await self.engine.work()
        told = differences(await observed(self.engine, KEYS), predicted(self.account))
        assert not told, told
        await check_invariants(self.account.cap)

    async def time_passes(self) -> None:
        """Nothing else happens."""

    async def somebody_appears_or_changes(self, book: str, record: Record, group: str) -> None:
        self.books[book].put(record, group)

    async def one_thing_changes(self, book: str, external_id: str, name: str, value: Any) -> None:
        change = self.books[book].changes.get(external_id)
        if change is not None and change.record is not None:
            self.books[book].put(replace(change.record, **{name: value}), change.group)

    async def somebody_is_deleted_there(self, book: str, external_id: str) -> None:
        if external_id in self.books[book].changes:
            self.books[book].delete(external_id)

    async def many_change(self, book: str, external_ids: Sequence[str], name: str, value: Any) -> None:
        for external_id in external_ids:
            await self.one_thing_changes(book, external_id, name, value)

    async def many_are_deleted_there(self, book: str, external_ids: Sequence[str]) -> None:
        for external_id in external_ids:
            await self.somebody_is_deleted_there(book, external_id)

    async def a_request_meets(self, book: str, planned: Planned) -> None:
        self.model.faults.planned[book] = self.engine.faults.planned[book] = planned

    async def pause(self, name: str) -> None:
        here.pause(self.account, name)
        await self.engine.pause(name)

    async def resume(self, name: str) -> None:
        if self.is_connected(name):
            accepted = here.resume(self.account, name)
            assert await self.engine.resume(name) is accepted

    async def run_now(self, name: str) -> None:
        if self.is_connected(name):
            accepted = here.run_now(self.account, name)
            assert await self.engine.run_now(name) is accepted

    async def approve(self, name: str) -> None:
        if self.account.imports[name].state is ImportState.NEEDS_REVIEW:
            here.approve(self.account, name)
            await self.engine.judge(name, approve=True)

    async def drop(self, name: str) -> None:
        if self.account.imports[name].state is ImportState.NEEDS_REVIEW:
            here.pause(self.account, name)
            await self.engine.judge(name, approve=False)

    async def change_criteria(self, name: str, group: str) -> None:
        here.change_criteria(self.account, name, group)
        await self.engine.change_criteria(name, group)

    async def make_anew(self, name: str, undoing: bool) -> None:
        """A user deletes an import, or undoes it as well, and makes the same again."""
        old, gone = self.account.imports[name], f"{name} (deleted, {len(self.account.imports)})"
        accepted = here.delete_import(self.account, old, undoing=undoing)
        assert await self.engine.delete_import(name, undoing=undoing) is accepted
        if not accepted:
            return
        # In its place: of the imports that know a record, the one that was made last is asked.
        self.account.imports = {gone if each is old else key: each for key, each in self.account.imports.items()}
        self.engine.imports[gone] = self.engine.imports.pop(name)
        new = Import(
            name=name, external_account=old.external_account, group=old.group, lists=old.lists, tags=old.tags,
            names=old.names, phones=old.phones, deletions=old.deletions, deletion_tag=old.deletion_tag,
        )  # fmt: skip
        here.add_import(self.account, new)
        await self.engine.add_import(new)

    async def change_targets(self, name: str, lists: Sequence[str], tags: Sequence[str]) -> None:
        here.change_targets(self.account, name, lists, tags)
        await self.engine.change_targets(name, lists, tags)

    async def retry(self, name: str) -> None:
        accepted = here.retry(self.account, name)
        assert await self.engine.retry(name) is accepted

    async def undo(self, name: str, back: int, and_later: bool) -> None:
        accepted = here.undo(self.account, name, back, and_later=and_later)
        assert await self.engine.undo(name, back, and_later=and_later) is accepted

    async def undo_of_deleted(self, which: int, back: int, and_later: bool) -> None:
        gone = [name for name, each in self.account.imports.items() if each.deleted]
        if gone:
            await self.undo(gone[which % len(gone)], back, and_later)

    async def reconnect(self, book: str) -> None:
        here.reconnect(self.account, book)
        await self.engine.reconnect(book)

    def is_connected(self, name: str) -> bool:
        return self.account.external_accounts[self.account.imports[name].external_account].is_healthy

    async def another_plan(self, limit: int) -> None:
        plans.choose_plan(self.account, limit)
        await self.engine.set_limit(limit)

    async def set_auto_upgrade(self, enabled: bool, ceiling: int) -> None:
        accepted = plans.set_auto_upgrade(self.account, enabled=enabled, ceiling=ceiling)
        assert await self.engine.set_auto_upgrade(enabled=enabled, ceiling=ceiling) is accepted

    async def create_contact(self, key: str, first_name: str) -> None:
        accepted = here.create(self.account, key, first_name)
        assert await self.engine.create_contact(key, first_name) is accepted

    async def correct_name(self, key: str, first_name: str) -> None:
        if contact := self.account.contact_of(key):
            here.correct_name(self.account, contact, first_name)
            assert await self.engine.edit_contact(key, first_name=first_name)

    async def correct_address(self, key: str, new: str) -> None:
        if contact := self.account.contact_of(key):
            accepted = here.move(self.account, contact, new)
            assert await self.engine.edit_contact(key, email=new) is accepted

    async def set_status(self, key: str, status: ContactStatus) -> None:
        if contact := self.account.contact_of(key):
            accepted = here.set_status(self.account, contact, status)
            assert await self.engine.set_status(key, status) is accepted

    async def set_subscription(self, key: str, name: str, status: ContactStatus) -> None:
        if contact := self.account.contact_of(key):
            here.set_subscription(self.account, contact, name, status)
            assert await self.engine.set_status(key, status, name)

    async def delete_contact(self, key: str, erase: bool) -> None:
        if contact := self.account.contact_of(key):
            here.delete(self.account, contact, erase=erase)
            await self.engine.delete_contact(key, erase=erase)


async def play(begin: Setting, steps: Sequence[Step]) -> str | None:
    """What tells the engine from the rules, if anything does."""
    told = Play(begin)
    try:
        await told.begin()
        for step in steps:
            await told.take(step)
    except AssertionError as difference:
        return str(difference)
    return None


@pytest.mark.parametrize("number", range(FIRST, LAST))
async def test_the_engine_agrees_with_the_rules(database: None, configure: Configure, number: int) -> None:
    configure(
        cap=CAP,
        cycle_seconds=CYCLE_SECONDS,
        review_changed_percent=guard.CHANGED_PERCENT,
        review_changed_count=guard.CHANGED_COUNT,
        review_missing_percent=sweeping.MISSED_PERCENT,
        review_missing_count=sweeping.MISSED_COUNT,
    )
    rng = Random(number)
    begin = setting(rng)
    steps = history(rng, STEPS)
    if await play(begin, steps) is None:
        return

    async def fails(steps: Sequence[Step], people: Sequence[Any]) -> bool:
        return await play(replace(begin, people=people), steps) is not None

    few, people = await shortest(steps, begin.people, fails)
    told = await play(replace(begin, people=people), few)
    pytest.fail("\n".join([str(replace(begin, people=people)), *map(str, few), "", str(told)]), pytrace=False)
