"""What the tests of the embedded servers ask of processes and files, and other Pythons to run stacks in."""

import os
import pwd
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import redis

from api.embedded import Server, Stack

ROOT = os.geteuid() == 0
CHOOSE = "Choose another place for the data with --data."


def servers_user() -> int:
    """The number of the user that the servers must run as."""
    if not ROOT:
        return os.geteuid()
    names = {entry.pw_name for entry in pwd.getpwall()}
    return pwd.getpwnam("postgres" if "postgres" in names else "nobody").pw_uid


def modes(*paths: Path) -> list[tuple[int, int, int]]:
    return [(facts.st_mode, facts.st_uid, facts.st_gid) for facts in (path.stat() for path in paths)]


def servers(stack: Stack) -> tuple[Server, Server]:
    """Both, where none is somebody else's."""
    assert stack.postgres is not None
    assert stack.redis is not None
    return stack.postgres, stack.redis


def postgres_pid(stack_data: Path) -> int:
    return int((stack_data / "postgres/postmaster.pid").read_text().split()[0])


def redis_pid(url: str) -> int:
    with redis.Redis.from_url(url) as client:
        return int(client.info("server")["process_id"])


def wait_until(reached: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not reached():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


PREAMBLE = """
import asyncio, os, signal, sys, time
from pathlib import Path
import asyncpg, redis
from api.embedded import embedded_stack, EmbeddedError
data = Path(sys.argv[1])
"""
# Python itself may lie in root's home: what it needs is loaded before root becomes somebody else.
BECOME_NOBODY = """
import pwd, tempfile
if os.geteuid() == 0:
    nobody = pwd.getpwnam("nobody")
    os.setgroups([])
    os.setgid(nobody.pw_gid)
    os.setuid(nobody.pw_uid)
"""
RUN_UNTIL_END_OF_INPUT = """
with embedded_stack(data, durable=False) as stack:
    print(stack.redis_url, flush=True)
    sys.stdin.read()
"""


@contextmanager
def python(script: str, data: Path) -> Iterator[subprocess.Popen[str]]:
    """Another Python with a stack of its own, the leader of a process group as under a shell."""
    with subprocess.Popen(
        [sys.executable, "-c", PREAMBLE + script, str(data)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        process_group=0,
    ) as child:
        try:
            yield child
        finally:
            child.kill()


def output_as_ordinary_user(script: str, data: Path) -> str:
    with python(BECOME_NOBODY + script, data) as child:
        return child.communicate()[0]
