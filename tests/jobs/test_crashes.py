"""R14 with real processes: whatever dies at whatever moment, nothing is lost and nothing is there twice."""

import asyncio
import os
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
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
MORE_CONTACTS = 20_000
TAGGED = "SELECT count(*) FROM contact_tag t JOIN contact c ON c.id = t.contact_id WHERE c.email LIKE 'person%'"
CATALOGUE = ConnectorCatalogue(registered=SERVICES, allow_private_hosts=True)
PATIENCE = 30.0
"""Seconds after which a test gives up."""


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
            "SLUICE_LEASE_SECONDS": "2",
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

    async def assert_complete(self) -> None:
        """Every card is in the ledger, every importable one a contact, once; the counts add up."""
        await self.wait_for("SELECT count(*) FROM import_run WHERE state = 'COMPLETED'", 1)
        facts = {
            "ledger": await self.count("SELECT count(*) FROM ledger"),
            "contacts": await self.count("SELECT count(*) FROM contact"),
            "active": await self.count("SELECT active_contacts FROM account"),
            "created": await self.count("SELECT sum(created_count) FROM import_run"),
            "created rows": await self.count("SELECT count(*) FROM outcome WHERE outcome = 'CREATED'"),
            "runs": await self.count("SELECT count(*) FROM import_run"),
            "leases": await self.count("SELECT count(*) FROM external_account WHERE lease_token IS NOT NULL"),
        }
        assert facts == {
            "ledger": self.book.cards,
            "contacts": self.book.importable,
            "active": self.book.importable,
            "created": self.book.importable,
            "created rows": self.book.importable,
            "runs": 1,
            "leases": 0,
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
    await make_linked_contacts(automatic_import, MORE_CONTACTS)
    tag = await make_tag(automatic_import.account_id)
    changes = ImportChanges(tag_ids=[tag.id])
    await automatic_imports.update(
        await viewer(), automatic_import.id, changes, catalogue=CATALOGUE, queue=RecordingQueue()
    )


async def test_a_worker_killed_in_mid_run_is_carried_on_by_another(scene: Scene) -> None:
    first = scene.start_worker()
    await scene.wait_for("SELECT count(*) FROM contact", 200)

    first.kill()
    first.wait()
    stored = await scene.count("SELECT count(*) FROM contact")
    scene.start_worker()

    assert 200 <= stored < scene.book.importable
    await scene.assert_complete()


async def test_a_worker_killed_in_mid_task_is_carried_on_by_another(scene: Scene) -> None:
    await database.open_database(scene.stack.database_url)
    await add_tag_to_import_with_many_contacts()
    await database.close_database()
    first = scene.start_worker()
    await scene.wait_for(TAGGED, 1000)

    first.kill()
    first.wait()
    stored = await scene.count(TAGGED)
    scene.start_worker()

    assert 1000 <= stored < MORE_CONTACTS
    await scene.wait_for("SELECT count(*) FROM background_task WHERE state = 'COMPLETED'", 1)
    assert await scene.count(TAGGED) == MORE_CONTACTS
    # Nothing was done twice, nor in larger steps: 500 in each transaction.
    steps = TAGGED.replace("count(*)", "t.xmin") + " GROUP BY t.xmin HAVING count(*) = 500"
    assert await scene.count(f"SELECT count(*) FROM ({steps}) steps") == MORE_CONTACTS / 500


async def test_a_worker_told_to_stop_hands_over_at_once(scene: Scene) -> None:
    first = scene.start_worker()
    await scene.wait_for("SELECT count(*) FROM contact", 200)

    first.terminate()
    code = first.wait(timeout=10)

    assert code == 0
    assert await scene.count("SELECT count(*) FROM external_account WHERE lease_token IS NOT NULL") == 0
    scene.start_worker()
    await scene.assert_complete()


async def test_redis_gone_for_five_seconds_loses_nothing(scene: Scene) -> None:
    scene.start_worker()
    await scene.wait_for("SELECT count(*) FROM contact", 200)
    redis = scene.stack.redis
    assert redis is not None

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
async def test_a_database_restarted_in_mid_run_loses_nothing(scene: Scene, abruptly: bool) -> None:
    scene.start_worker()
    await scene.wait_for("SELECT count(*) FROM contact", 200)
    postgres = scene.stack.postgres
    assert postgres is not None

    await asyncio.to_thread(postgres.stop, abruptly=abruptly)
    await asyncio.sleep(1)
    await asyncio.to_thread(postgres.start)

    await scene.assert_complete()
    assert scene.workers[0].poll() is None
