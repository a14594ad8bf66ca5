"""What holds while a stack runs."""

import stat

import asyncpg
import pytest
import redis
from arq.connections import RedisSettings, create_pool
from tortoise import Tortoise, connections, fields
from tortoise.models import Model

from api.embedded import Stack, process
from tests.api.embedded.probes import servers, servers_user


class Probe(Model):
    """Tortoise starts only with a model."""

    id = fields.IntField(primary_key=True)


async def test_the_database_is_ours_in_utf8_and_utc_and_off_the_network(stack: Stack) -> None:
    connection = await asyncpg.connect(stack.database_url)
    try:
        assert await connection.fetchval("SELECT current_database() || ' of ' || current_user") == "sluice of sluice"
        settings = ("server_encoding", "TimeZone", "listen_addresses", "max_connections", "fsync")
        assert [await connection.fetchval("SELECT current_setting($1)", name) for name in settings] == [
            "UTF8",
            "UTC",
            "",
            "200",
            "off",
        ]
        assert await connection.fetchval("SELECT lower('ÄŁÉ')") == "äłé"
    finally:
        await connection.close()


async def test_tortoise_opens_the_url(stack: Stack) -> None:
    await Tortoise.init(db_url=stack.database_url, modules={"models": [__name__]})
    try:
        rows = await connections.get("default").execute_query_dict("SELECT current_user::text AS user")
        assert rows == [{"user": "sluice"}]
    finally:
        await Tortoise.close_connections()


async def test_the_database_lets_nobody_in_without_the_password(stack: Stack) -> None:
    password = (stack.data / "password").read_text()
    for wrong in ("", "guess"):
        with pytest.raises((asyncpg.InvalidPasswordError, asyncpg.InterfaceError)):
            await asyncpg.connect(stack.database_url.replace(password, wrong))


async def test_redis_keeps_everything_and_is_off_the_network(stack: Stack) -> None:
    with redis.Redis.from_url(stack.redis_url) as client:
        assert client.config_get("port", "maxmemory-policy", "appendonly") == {
            "port": "0",
            "maxmemory-policy": "noeviction",
            "appendonly": "no",
        }


@pytest.mark.parametrize(("query", "database"), [("", 0), ("?db=3", 3)])
async def test_arq_opens_the_url(stack: Stack, query: str, database: int) -> None:
    pool = await create_pool(RedisSettings.from_dsn(stack.redis_url + query))
    try:
        assert await pool.ping()
        assert (await pool.client_info())["db"] == database
    finally:
        await pool.aclose()


def test_the_password_is_for_its_owner_alone_and_in_no_repr(stack: Stack) -> None:
    password = stack.data / "password"
    assert stat.S_IMODE(password.stat().st_mode) == 0o600
    assert len(password.read_text()) == 48
    assert password.read_text() not in repr(stack) + repr(stack.postgres) + repr(stack.redis)


def test_the_sockets_are_for_the_servers_user_alone(stack: Stack) -> None:
    for server in servers(stack):
        directory = server.socket.parent.stat()
        assert (directory.st_uid, stat.S_IMODE(directory.st_mode)) == (servers_user(), 0o700)
        assert (server.socket.stat().st_uid, len(str(server.socket)) < 104) == (servers_user(), True)


def test_the_servers_see_no_environment_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLUICE_SECRET_KEYS", "k1:secret")
    monkeypatch.setenv("PGDATA", "/nonexistent")
    status, output = process.run(["/usr/bin/env"], None)
    names = {line.partition("=")[0] for line in output.splitlines()}
    assert status == 0
    assert names <= {"PATH", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH", "PWD", "__CF_USER_TEXT_ENCODING"}
