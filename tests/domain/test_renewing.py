"""Credentials that end are renewed by one at a time, stored before use, and never over what a user did meanwhile."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from domain import database, external_accounts, renewing
from domain.account import Viewer
from domain.catalogue import Renewal
from domain.credentials import key_ring, new_key, seal_json, unseal_json
from domain.enums import ExternalAccountHealth
from domain.key_rotation import rotate
from domain.models import ExternalAccount
from tests.configuration import Configure
from tests.factories import make_account, make_external_account
from tests.fakes import FakeCatalogue

OLD = {"access": "a0", "refresh": "r0"}
RIGHT_IS_OVER = "UPDATE external_account SET renewing_until = renewing_until - interval '1 hour'"


class Busy(Exception):
    """What a service's connector raises."""


@dataclass
class Vendor:
    """A token endpoint that takes each refresh token once, and what it was asked with."""

    expires_at: datetime | None = None
    asked: list[str] = field(default_factory=list)
    begun: asyncio.Event = field(default_factory=asyncio.Event)
    answering: asyncio.Event = field(default_factory=asyncio.Event)
    waits: bool = False
    failures: list[Exception] = field(default_factory=list)

    async def renew(self, credentials: Mapping[str, Any]) -> Mapping[str, Any]:
        self.asked.append(credentials["refresh"])
        self.begun.set()
        if self.waits:
            await self.answering.wait()
        if self.failures:
            raise self.failures.pop()
        number = len(self.asked)
        return {"access": f"a{number}", "refresh": f"r{number}"}

    @property
    def renewal(self) -> Renewal:
        return Renewal(
            is_renewable=lambda credentials: "refresh" in credentials,
            expires_at=lambda credentials: self.expires_at if credentials == OLD else None,
            renew=self.renew,
        )


def in_minutes(minutes: float) -> datetime:
    return datetime.now(UTC) + timedelta(minutes=minutes)


@pytest.fixture
async def connected(database: None) -> ExternalAccount:
    """An external account with tokens."""
    made = await make_external_account((await make_account()).id)
    await put(made, OLD)
    return made


async def put(row: ExternalAccount, credentials: Mapping[str, Any] | None) -> None:
    sealed = None if credentials is None else seal_json(credentials, row=row.id)
    await ExternalAccount.filter(id=row.id).update(credentials=sealed)


async def stored(row: ExternalAccount) -> dict[str, Any] | None:
    sealed = (await ExternalAccount.get(id=row.id)).credentials
    return None if sealed is None else unseal_json(sealed, row=row.id)


async def usable(row: ExternalAccount, vendor: Vendor, *, refused: Mapping[str, Any] | None = None) -> Any:
    return await renewing.usable(row.account_id, row.id, vendor.renewal, refused=refused)


@pytest.mark.parametrize(
    ("minutes", "asked"),
    [(None, []), (60, []), (5.5, []), (4.5, ["r0"]), (-300, ["r0"])],
    ids=["never", "in an hour", "soon", "in a moment", "ended"],
)
async def test_what_ends_within_five_minutes_is_renewed_and_nothing_else(
    connected: ExternalAccount, minutes: float | None, asked: list[str]
) -> None:
    vendor = Vendor(expires_at=None if minutes is None else in_minutes(minutes))

    got = await usable(connected, vendor)

    assert vendor.asked == asked
    assert got == await stored(connected) == ({"access": "a1", "refresh": "r1"} if asked else OLD)
    assert (await ExternalAccount.get(id=connected.id)).renewing_until is None


async def test_what_the_service_refused_is_renewed_whatever_the_clock_says(connected: ExternalAccount) -> None:
    vendor = Vendor(expires_at=in_minutes(60))

    assert await usable(connected, vendor, refused=OLD) == {"access": "a1", "refresh": "r1"}
    assert vendor.asked == ["r0"]


async def test_a_refusal_of_what_somebody_renewed_meanwhile_asks_nobody(connected: ExternalAccount) -> None:
    vendor = Vendor()

    assert await usable(connected, vendor, refused={"access": "older", "refresh": "older"}) == OLD
    assert vendor.asked == []


@pytest.mark.parametrize("renewal", [None, Vendor(expires_at=in_minutes(-1)).renewal], ids=["never", "without token"])
async def test_what_cannot_be_renewed_is_used_as_it_is(connected: ExternalAccount, renewal: Renewal | None) -> None:
    await put(connected, {"token": "good"})

    got = await renewing.usable(connected.account_id, connected.id, renewal, refused={"token": "good"})

    assert got == {"token": "good"}


async def test_many_at_once_ask_the_service_once_and_all_get_what_it_gave(connected: ExternalAccount) -> None:
    vendor = Vendor(expires_at=in_minutes(1))

    got = await asyncio.gather(
        *(usable(connected, vendor, refused=OLD if number % 2 else None) for number in range(12))
    )

    assert vendor.asked == ["r0"]
    assert got == [{"access": "a1", "refresh": "r1"}] * 12


async def test_nothing_waits_for_the_service_but_who_wants_these_credentials(connected: ExternalAccount) -> None:
    vendor = Vendor(expires_at=in_minutes(1), waits=True)
    renewing_it = asyncio.create_task(usable(connected, vendor))
    await vendor.begun.wait()

    async with database.transaction() as connection:
        # What every page commit holds. It would wait for ever for a lock.
        held = await connection.fetchval(
            "SELECT service FROM external_account WHERE id = $1 FOR NO KEY UPDATE NOWAIT", connected.id
        )
    locks = await database.fetch("SELECT count(*) AS n FROM pg_locks WHERE locktype = 'advisory'")
    vendor.answering.set()

    assert (held, locks[0]["n"]) == ("sample", 0)
    assert await renewing_it == {"access": "a1", "refresh": "r1"}


async def test_a_lost_answer_leaves_the_old_pair_which_is_tried_again(connected: ExternalAccount) -> None:
    vendor = Vendor(expires_at=in_minutes(1), failures=[Busy()])

    with pytest.raises(Busy):
        await usable(connected, vendor)
    assert await stored(connected) == OLD

    assert await usable(connected, vendor) == {"access": "a2", "refresh": "r2"}
    assert vendor.asked == ["r0", "r0"]


@pytest.mark.parametrize("times", [1, 3])
async def test_whoever_is_cancelled_however_often_stores_what_the_service_gives(
    connected: ExternalAccount, times: int
) -> None:
    vendor = Vendor(expires_at=in_minutes(1), waits=True)
    cancelled = asyncio.create_task(usable(connected, vendor))
    await vendor.begun.wait()

    for _ in range(times):
        cancelled.cancel()
        await asyncio.sleep(0)
    vendor.answering.set()
    with pytest.raises(asyncio.CancelledError):
        await cancelled

    assert await stored(connected) == {"access": "a1", "refresh": "r1"}


async def test_a_database_away_for_a_moment_loses_no_tokens(
    connected: ExternalAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    vendor, keep, failures = Vendor(expires_at=in_minutes(1)), renewing._keep, [ConnectionError(), ConnectionError()]

    async def away(*arguments: Any) -> Any:
        if failures:
            raise failures.pop()
        return await keep(*arguments)

    monkeypatch.setattr(renewing, "_keep", away)
    monkeypatch.setattr(renewing, "PAUSES", (0.0, 0.0, 0.0))

    assert await usable(connected, vendor) == await stored(connected) == {"access": "a1", "refresh": "r1"}
    assert (vendor.asked, failures) == (["r0"], [])


@pytest.mark.parametrize("wins", [{"access": "theirs", "refresh": "theirs"}, None], ids=["reconnect", "disconnect"])
async def test_a_user_who_reconnects_or_disconnects_meanwhile_wins(
    connected: ExternalAccount, wins: dict[str, Any] | None
) -> None:
    vendor = Vendor(expires_at=in_minutes(1), waits=True)
    renewing_it = asyncio.create_task(usable(connected, vendor))
    await vendor.begun.wait()

    viewer = Viewer(account_id=connected.account_id, token_id=UUID(int=1), scopes=frozenset())
    if wins is None:
        await external_accounts.disconnect(viewer, connected.id, catalogue=FakeCatalogue())
    else:
        await put(connected, wins)
    vendor.answering.set()

    assert await renewing_it == await stored(connected) == wins
    if wins is None:
        assert (await ExternalAccount.get(id=connected.id)).health == ExternalAccountHealth.DISCONNECTED


async def test_a_change_of_keys_meanwhile_loses_nothing(connected: ExternalAccount, configure: Configure) -> None:
    vendor = Vendor(expires_at=in_minutes(1), waits=True)
    renewing_it = asyncio.create_task(usable(connected, vendor))
    await vendor.begun.wait()

    configure(secret_keys=f"{new_key()},{os.environ['SLUICE_SECRET_KEYS']}")
    key_ring.cache_clear()
    try:
        # The account's own key, and these credentials.
        assert (await rotate()).count == 2
        vendor.answering.set()
        assert await renewing_it == await stored(connected) == {"access": "a1", "refresh": "r1"}
    finally:
        key_ring.cache_clear()


# What a worker's process does, told on its arguments: where it dies, and where it writes down what it asks with.
PROCESS = """
import asyncio, os, signal, sys
from uuid import UUID
from domain import database, renewing
from domain.catalogue import Renewal
url, account_id, row_id, log, dies = sys.argv[1:]

async def renew(credentials):
    with open(log, "a") as asked:
        asked.write(credentials["refresh"] + "\\n")
    if dies == "while asking":
        os.kill(os.getpid(), signal.SIGKILL)
    await asyncio.sleep(0.3)
    return {"access": "new", "refresh": credentials["refresh"] + "+"}

async def main():
    await database.open_database(url, pool_size=2)
    renewal = Renewal(is_renewable=lambda _: True, expires_at=lambda _: None, renew=renew)
    refused = {"access": "a0", "refresh": "r0"}
    found = await renewing.usable(UUID(account_id), UUID(row_id), renewal, refused=refused)
    if dies == "before use":
        os.kill(os.getpid(), signal.SIGKILL)
    print(found["refresh"])
    await database.close_database()

asyncio.run(main())
"""


@dataclass(frozen=True)
class Processes:
    """Processes that want the same external account's credentials."""

    row: ExternalAccount
    url: str
    log: str

    def start(self, dies: str = "never") -> "subprocess.Popen[str]":
        arguments = [self.url, str(self.row.account_id), str(self.row.id), self.log, dies]
        return subprocess.Popen([sys.executable, "-c", PROCESS, *arguments], stdout=subprocess.PIPE, text=True)

    def asked(self) -> list[str]:
        with open(self.log) as asked:  # noqa: PTH123
            return asked.read().split()


async def ended(*processes: "subprocess.Popen[str]") -> list[tuple[str, int]]:
    outputs = [await asyncio.to_thread(process.communicate) for process in processes]
    return [(output.strip(), process.returncode) for (output, _), process in zip(outputs, processes, strict=True)]


@pytest.fixture
async def processes(database_url: str, tmp_path: Any) -> Any:
    await database.open_database(database_url)
    try:
        made = await make_external_account((await make_account()).id)
        await put(made, OLD)
        yield Processes(made, database_url, str(tmp_path / "asked"))
    finally:
        await database.close_database()


async def test_processes_that_renew_at_once_ask_the_service_once(processes: Processes) -> None:
    assert await ended(*(processes.start() for _ in range(3))) == [("r0+", 0)] * 3
    assert processes.asked() == ["r0"]


async def test_what_a_process_stored_before_it_was_killed_is_used_by_the_next(processes: Processes) -> None:
    assert await ended(processes.start("before use")) == [("", -signal.SIGKILL)]
    assert await ended(processes.start()) == [("r0+", 0)]
    assert processes.asked() == ["r0"]


async def test_a_process_killed_while_it_asks_gives_way_to_the_next_with_the_old_refresh_token(
    processes: Processes,
) -> None:
    assert await ended(processes.start("while asking")) == [("", -signal.SIGKILL)]
    assert await stored(processes.row) == OLD
    waiting = processes.start()
    await database.fetch(RIGHT_IS_OVER)

    assert await ended(waiting) == [("r0+", 0)]
    assert processes.asked() == ["r0", "r0"]
