"""R14 with real processes: whatever dies at whatever moment, nothing is lost and nothing is there twice."""

import asyncio
import os
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg
import pytest

from api.embedded import Stack, temporary_stack
from api.sample_service import SampleBook, radicale, write_vcards
from connectors.registry import SERVICES
from domain import account, automatic_imports, database, external_accounts
from domain.account import Viewer
from domain.import_inputs import ImportChanges, NewImport
from domain.models import AutomaticImport
from jobs.catalogue import ConnectorCatalogue
from tests.configuration import Configure
from tests.factories import make_linked_contacts, make_tag
from tests.fakes import RecordingQueue

CARDS = 600
STORED = 200
"""Cards after which a worker is held up, in the middle of the next page."""
MORE_CONTACTS = 3_000
TAGGED = "SELECT count(*) FROM contact_tag"
HOLD_UP = """
CREATE FUNCTION hold_up() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (SELECT count(*) FROM {table}) > {rows} THEN PERFORM pg_advisory_xact_lock(1); END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER hold_up AFTER INSERT ON {table} FOR EACH STATEMENT EXECUTE FUNCTION hold_up();
SELECT pg_advisory_lock(1);
"""
HELD_UP = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
CATALOGUE = ConnectorCatalogue(registered=SERVICES, allow_private_hosts=True)
PATIENCE = 120.0
"""Seconds after which a test gives up."""
LEASE_SECONDS = 600
"""More than patience: who takes over did not wait for a lease to run out, unless the test lets it."""


@dataclass(kw_only=True)
class Scene:
    """A stack of its own, a CardDAV server with the sample book, one import of it, and worker processes."""

    stack: Stack
    book: SampleBook
    logs: Path
    workers: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start_worker(self) -> subprocess.Popen[bytes]:
        """A worker process."""
        environment = os.environ | {
            "SLUICE_DATABASE_URL": self.stack.database_url,
            "SLUICE_REDIS_URL": self.stack.redis_url,
            "SLUICE_ALLOW_PRIVATE_HOSTS": "1",
            "SLUICE_CAP": "100000",
            "SLUICE_CYCLE_SECONDS": "604800",
            "SLUICE_LEASE_SECONDS": str(LEASE_SECONDS),
        }
        with (self.logs / f"worker-{len(self.workers)}.log").open("wb") as log:
            worker = subprocess.Popen(
                [sys.executable, "-c", "from jobs.worker import main; main()"], env=environment, stderr=log, stdout=log
            )
        self.workers.append(worker)
        return worker

    async def count(self, query: str) -> int:
        """The number that `query` gives; 0 while the database is away."""
        try:
            connection = await asyncpg.connect(self.stack.database_url)
        except (OSError, asyncpg.PostgresError):
            return 0
        try:
            return int(await connection.fetchval(query))
        finally:
            await connection.close()

    async def wait_for(self, query: str, least: int) -> None:
        """Until `query` gives at least that many."""
        end = time.monotonic() + PATIENCE
        while await self.count(query) < least:
            if time.monotonic() > end:
                texts = [path.read_text()[-2000:] for path in sorted(self.logs.glob("worker-*.log"))]
                pytest.fail(f"{query} stayed below {least}: {texts}")
            await asyncio.sleep(0.02)

    @asynccontextmanager
    async def held_up(self, table: str, rows: int) -> AsyncIterator[None]:
        """A worker, held up until the block ends in the transaction in which it inserts more than so many rows."""
        connection = await asyncpg.connect(self.stack.database_url)
        try:
            await connection.execute(HOLD_UP.format(table=table, rows=rows))
            self.start_worker()
            await self.wait_for(HELD_UP, 1)
            yield
        finally:
            connection.terminate()

    async def let_leases_run_out(self) -> None:
        """As time would."""
        connection = await asyncpg.connect(self.stack.database_url)
        for table in ("external_account", "background_task"):
            await connection.execute(f"UPDATE {table} SET lease_expires_at = now() WHERE lease_token IS NOT NULL")
        await connection.close()

    async def assert_complete(self) -> None:
        """Every card is in the ledger, every importable one a contact, once; the counts add up; the lease is back."""
        await self.wait_for(
            "SELECT count(*) FROM import_run, external_account WHERE state = 'COMPLETED' AND lease_token IS NULL", 1
        )
        facts = {
            "ledger": await self.count("SELECT count(*) FROM ledger"),
            "contacts": await self.count("SELECT count(*) FROM contact"),
            "active": await self.count("SELECT active_contacts FROM account"),
            "created": await self.count("SELECT sum(created_count) FROM import_run"),
            "created rows": await self.count("SELECT count(*) FROM outcome WHERE outcome = 'CREATED'"),
            "runs": await self.count("SELECT count(*) FROM import_run"),
        }
        assert facts == {
            "ledger": self.book.cards,
            "contacts": self.book.importable,
            "active": self.book.importable,
            "created": self.book.importable,
            "created rows": self.book.importable,
            "runs": 1,
        }


@pytest.fixture
async def scene(tmp_path: Path, configure: Configure) -> AsyncIterator[Scene]:
    configure(allow_private_hosts=True)
    with temporary_stack() as stack, carddav(tmp_path) as (credentials, book):
        await database.migrate(stack.database_url)
        await database.open_database(stack.database_url)
        await connect(credentials)
        await database.close_database()
        scene = Scene(stack=stack, book=book, logs=tmp_path)
        yield scene
        for worker in scene.workers:
            worker.kill()
            worker.wait()


@contextmanager
def carddav(directory: Path) -> Iterator[tuple[dict[str, str], SampleBook]]:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    with radicale(directory / "radicale", port) as server:
        book = write_vcards(server, CARDS)
        yield {"url": server.url, "username": server.username, "password": server.password}, book


async def viewer() -> Viewer:
    owner = await account.find_or_create_account("Acme")
    return Viewer(account_id=owner.id, token_id=owner.id, scopes=frozenset())


async def connect(credentials: dict[str, str]) -> None:
    connected = await external_accounts.connect(
        await viewer(), service="carddav", credentials=credentials, catalogue=CATALOGUE
    )
    await automatic_imports.create(
        await viewer(),
        NewImport(external_account_id=connected.id, name="Book"),
        catalogue=CATALOGUE,
        queue=RecordingQueue(),
    )


async def add_tag_to_import_with_many_contacts() -> None:
    automatic_import = await AutomaticImport.get()
    # Nobody but those contacts gets the tag: nothing more is imported.
    await automatic_imports.pause(await viewer(), automatic_import.id)
    await make_linked_contacts(automatic_import, MORE_CONTACTS)
    tag = await make_tag(automatic_import.account_id)
    changes = ImportChanges(tag_ids=[tag.id])
    await automatic_imports.update(
        await viewer(), automatic_import.id, changes, catalogue=CATALOGUE, queue=RecordingQueue()
    )


async def test_a_worker_killed_in_mid_page_is_carried_on_by_another(scene: Scene) -> None:
    async with scene.held_up("ledger", STORED):
        scene.workers[0].kill()
        scene.workers[0].wait()
        assert await scene.count("SELECT count(*) FROM ledger") == STORED

    await scene.let_leases_run_out()
    scene.start_worker()

    await scene.assert_complete()


async def test_a_worker_killed_in_mid_task_is_carried_on_by_another(scene: Scene) -> None:
    await database.open_database(scene.stack.database_url)
    await add_tag_to_import_with_many_contacts()
    await database.close_database()
    async with scene.held_up("contact_tag", 1000):
        scene.workers[0].kill()
        scene.workers[0].wait()
        assert await scene.count(TAGGED) == 1000

    await scene.let_leases_run_out()
    scene.start_worker()

    await scene.wait_for("SELECT count(*) FROM background_task WHERE state = 'COMPLETED'", 1)
    assert await scene.count(TAGGED) == MORE_CONTACTS
    # Nothing was done twice, nor in larger steps: 500 in each transaction.
    steps = "SELECT xmin FROM contact_tag GROUP BY xmin HAVING count(*) = 500"
    assert await scene.count(f"SELECT count(*) FROM ({steps}) steps") == MORE_CONTACTS / 500


async def test_a_worker_told_to_stop_hands_over_at_once(scene: Scene) -> None:
    async with scene.held_up("ledger", STORED):
        scene.workers[0].terminate()
        assert scene.workers[0].wait(timeout=PATIENCE) == 0
        assert await scene.count("SELECT count(*) FROM ledger") == STORED

    scene.start_worker()

    await scene.assert_complete()


async def test_redis_gone_for_five_seconds_loses_nothing(scene: Scene) -> None:
    redis = scene.stack.redis
    assert redis is not None
    async with scene.held_up("ledger", STORED):
        await asyncio.to_thread(redis.stop, abruptly=True)

    await asyncio.sleep(5)
    await asyncio.to_thread(redis.start)

    await scene.assert_complete()
    assert scene.workers[0].poll() is None


async def test_redis_gone_before_the_worker_starts_is_waited_for(scene: Scene) -> None:
    redis = scene.stack.redis
    assert redis is not None
    await asyncio.to_thread(redis.stop)

    scene.start_worker()
    await asyncio.sleep(1)
    await asyncio.to_thread(redis.start)

    await scene.assert_complete()


@pytest.mark.parametrize("abruptly", [False, True], ids=["restarted", "killed"])
async def test_a_database_restarted_in_mid_page_loses_nothing(scene: Scene, abruptly: bool) -> None:
    postgres = scene.stack.postgres
    assert postgres is not None
    async with scene.held_up("ledger", STORED):
        await asyncio.to_thread(postgres.stop, abruptly=abruptly)
        await asyncio.sleep(1)
        await asyncio.to_thread(postgres.start)

    await scene.let_leases_run_out()

    await scene.assert_complete()
    assert scene.workers[0].poll() is None
