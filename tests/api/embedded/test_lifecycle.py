"""Starting and stopping, wanted and unwanted."""

import os
import signal
from pathlib import Path

import asyncpg
import pytest
import redis

from api.embedded import EmbeddedError, Stack, embedded_stack, temporary_stack, urls_of_running_stack
from tests.api.embedded.probes import (
    CHOOSE,
    RUN_UNTIL_END_OF_INPUT,
    is_running,
    postgres_pid,
    python,
    redis_pid,
    servers,
    wait_until,
)


async def test_data_outlives_a_stop_and_the_sockets_do_not(data: Path) -> None:
    with embedded_stack(data) as first:
        connection = await asyncpg.connect(first.database_url)
        await connection.execute("CREATE TABLE kept AS SELECT 7 AS number")
        await connection.close()
        with redis.Redis.from_url(first.redis_url) as client:
            client.set("kept", "7")
    assert [server.socket.parent.exists() for server in servers(first)] == [False, False]
    with embedded_stack(data) as second:
        connection = await asyncpg.connect(second.database_url)
        assert await connection.fetchval("SELECT number FROM kept") == 7
        assert await connection.fetchval("SHOW fsync") == "on"
        await connection.close()
        with redis.Redis.from_url(second.redis_url) as client:
            assert client.get("kept") == b"7"


async def test_a_crash_loses_nothing_even_when_a_stranger_has_the_servers_number(data: Path) -> None:
    with embedded_stack(data) as first:
        connection = await asyncpg.connect(first.database_url)
        await connection.execute("CREATE TABLE kept AS SELECT 7 AS number")
        with redis.Redis.from_url(first.redis_url) as client:
            client.set("kept", "7")
        for server in servers(first):
            server.stop(abruptly=True)
        connection.terminate()
    pid_file = data / "postgres/postmaster.pid"
    _, *rest = pid_file.read_text().splitlines()
    with python("sys.stdin.read()", data) as stranger:
        pid_file.write_text("\n".join([str(stranger.pid), *rest]))
        with embedded_stack(data) as second:
            connection = await asyncpg.connect(second.database_url)
            assert await connection.fetchval("SELECT number FROM kept") == 7
            await connection.close()
            with redis.Redis.from_url(second.redis_url) as client:
                assert client.get("kept") == b"7"
        assert stranger.poll() is None


async def test_each_server_can_be_stopped_and_started_on_the_same_socket(data: Path) -> None:
    with embedded_stack(data, durable=False) as stack:
        postgres_server, redis_server = servers(stack)
        postgres_server.stop()
        with redis.Redis.from_url(stack.redis_url) as client:
            assert client.ping()
            with pytest.raises(OSError, match="No such file"):
                await asyncpg.connect(stack.database_url)
            postgres_server.start()
            redis_server.stop()
            await (await asyncpg.connect(stack.database_url)).close()
            with pytest.raises(redis.ConnectionError):
                client.ping()
            redis_server.start()
            assert client.ping()


def test_a_second_start_is_refused_while_the_first_runs(data: Path) -> None:
    assert urls_of_running_stack(data) is None
    with embedded_stack(data, durable=False) as first:
        with pytest.raises(EmbeddedError) as refusal, embedded_stack(data):
            pass
        assert str(refusal.value) == f"{data} is in use by process {os.getpid()}. Stop it first. {CHOOSE}"
        assert urls_of_running_stack(data) == (first.database_url, first.redis_url)
    assert urls_of_running_stack(data) is None


def test_a_server_that_is_there_already_is_not_started(stack: Stack, data: Path) -> None:
    with embedded_stack(data, database_url=stack.database_url, durable=False) as other:
        assert (other.postgres, other.database_url) == (None, stack.database_url)
        assert redis_pid(other.redis_url) != redis_pid(stack.redis_url)
        assert not (data / "postgres").exists()


def test_the_servers_end_when_their_parent_is_killed(data: Path) -> None:
    with python(RUN_UNTIL_END_OF_INPUT, data) as parent:
        assert parent.stdout
        redis_url = parent.stdout.readline().strip()
        pids = postgres_pid(data), redis_pid(redis_url)
        parent.kill()
        wait_until(lambda: not any(is_running(pid) for pid in pids))
    sockets = Path(redis_url.removeprefix("unix://")).parent
    wait_until(lambda: not sockets.exists())
    with embedded_stack(data, durable=False):
        assert postgres_pid(data) not in pids


def test_a_start_right_after_a_killed_parent_waits_for_its_servers(data: Path) -> None:
    with python(RUN_UNTIL_END_OF_INPUT, data) as parent:
        assert parent.stdout
        pids = redis_pid(parent.stdout.readline().strip()), postgres_pid(data)
        parent.kill()
        parent.wait()
        with embedded_stack(data, durable=False):
            assert [is_running(pid) for pid in pids] == [False, False]


def test_ctrl_c_leaves_the_servers_to_us(data: Path) -> None:
    script = """
with embedded_stack(data, durable=False) as stack:
    try:
        print("up", flush=True)
        time.sleep(30)
    except KeyboardInterrupt:
        time.sleep(0.3)
        print(redis.Redis.from_url(stack.redis_url).ping())
        async def ask():
            print(await (await asyncpg.connect(stack.database_url)).fetchval("SELECT 'alive'"))
        asyncio.run(ask())
"""
    with python(script, data) as child:
        assert child.stdout
        assert child.stdout.readline() == "up\n"
        os.killpg(child.pid, signal.SIGINT)
        assert child.communicate()[0] == "True\nalive\n"


def test_a_temporary_stack_leaves_nothing_behind() -> None:
    with temporary_stack() as stack:
        assert (stack.data / "postgres").is_dir()
    assert not stack.data.parent.exists()
