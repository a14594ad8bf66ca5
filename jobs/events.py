"""The domain's events on Redis pub/sub: they say of which import a run changed, the run's row says how.

A notice that nobody hears is lost, and may be: after every (re)subscription each watcher is woken and looks for
itself.
"""

import asyncio
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from uuid import UUID

import orjson
import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from domain.events import Changes, ImportChanged, RunChanged

log = structlog.get_logger()

CHANNEL = "sluice:runs"
PUBLISH_SECONDS = 1.0
"""A Redis that hangs must hold up neither the worker that stores pages nor whoever changes an import."""
PING_SECONDS = 15.0
"""A connection that stays silent this long is asked for a sign of life, and given up after as long again."""
FIRST_PAUSE, LONGEST_PAUSE = 0.05, 2.0
"""Seconds between attempts to subscribe again."""

_LOST = (RedisError, OSError, TimeoutError)


class RedisEvents:
    """Publishes one small message per change."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._is_lost = False

    async def publish(self, event: RunChanged | ImportChanged) -> None:
        """Tell every API process. Where Redis is away, that is logged once and nothing else happens."""
        # asyncpg has a UUID of its own, which orjson does not know.
        message = orjson.dumps([str(event.account_id), str(event.automatic_import_id)])
        try:
            async with asyncio.timeout(PUBLISH_SECONDS):
                await self._redis.publish(CHANNEL, message)
        except _LOST as error:
            if not self._is_lost:
                log.warning("events.not_published", error=repr(error))
            self._is_lost = True
        else:
            self._is_lost = False


class RedisWatch:
    """One reader connection of this process, fanned out to whoever watches. `run` reads until it is cancelled."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._slots: dict[Hashable, set[_Slot]] = {}
        self._pause = FIRST_PAUSE

    @contextmanager
    def changes(self, account_id: UUID, *, automatic_import_id: UUID | None = None) -> Iterator[Changes]:
        """Changes of one import's runs, or of all the account's runs."""
        slot = _Slot()
        key = (account_id, automatic_import_id)
        self._slots.setdefault(key, set()).add(slot)
        try:
            yield slot
        finally:
            self._slots[key].discard(slot)
            if not self._slots[key]:
                del self._slots[key]

    async def run(self) -> None:
        """Read, and begin again whenever the connection is lost."""
        while True:
            try:
                await self._read()
            except _LOST as error:
                if self._pause == FIRST_PAUSE:
                    log.warning("events.reader_lost", error=repr(error))
                await asyncio.sleep(self._pause)
                self._pause = min(2 * self._pause, LONGEST_PAUSE)

    async def _read(self) -> None:
        async with self._redis.pubsub() as reader:
            await reader.subscribe(CHANNEL)
            is_asked = False
            while True:
                message = await reader.get_message(timeout=PING_SECONDS)
                if message is not None:
                    is_asked = False
                    self._hear(message["type"], message["data"])
                elif is_asked:
                    raise TimeoutError("Redis gave no sign of life.")
                else:
                    is_asked = True
                    await reader.ping()

    def _hear(self, kind: str, data: bytes) -> None:
        match kind:
            case "subscribe":
                # Nothing that was published until now has been heard.
                self._pause = FIRST_PAUSE
                self._wake(*self._slots)
            case "message":
                try:
                    account_id, automatic_import_id = (UUID(text) for text in orjson.loads(data))
                except (ValueError, TypeError, AttributeError) as error:
                    # Another version of Sluice, while a deployment is under way. Watchers look by themselves, too.
                    log.warning("events.unreadable", error=type(error).__name__)
                    return
                self._wake((account_id, None), (account_id, automatic_import_id))

    def _wake(self, *keys: Hashable) -> None:
        for key in keys:
            for slot in self._slots.get(key, ()):
                slot.has_news.set()


class _Slot:
    """Holds at most one notice: a slow watcher misses notices, never the latest state."""

    def __init__(self) -> None:
        self.has_news = asyncio.Event()

    async def wait(self) -> None:
        """Return as soon as there is news since the last call."""
        await self.has_news.wait()
        self.has_news.clear()
