"""Processes and signals, all of them real: what starts, what answers, and that nothing is left of it."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import pytest
import typer
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect
from websockets.typing import Subprotocol

from api.cli.children import Child, watch
from api.cli.failures import CannotRun
from api.cli.stopping import TookTooLong, time_limit, until_stopped
from api.embedded import Server
from domain.credentials import new_key
from tests.api.cli.processes import Command, are_running, descendants, running, wait_until
from tests.api.cli.refusals import Sluice

OURS = ("-m api.cli serve", "-m api.cli worker", "bin/postgres -D", "-server ")


def processes(command: Command) -> list[int]:
    """Everything that it runs, once the API, a worker, PostgreSQL and Redis are among them."""
    found = descendants(command.process.pid)
    assert [part for part in OURS if not any(part in line for line in found.values())] == []
    return list(found)


def account_of(token: str, url: str) -> str:
    answer = httpx.post(
        f"{url}/graphql",
        json={"query": "{ account { name } }"},
        headers={"Authorization": f"Bearer {token}"},
        trust_env=False,
    )
    return str(answer.json()["data"]["account"]["name"])


def test_ctrl_c_and_a_kill_leave_data_and_keys_and_nothing_running(sluice: Sluice, room: Path) -> None:
    (room / "api.py").write_text("raise SystemExit('This is not the api of Sluice.')")
    with running("up", "--port", "0", directory=room) as command:
        url = command.wait_for("Sluice is up at ").removesuffix("/graphql. Ctrl-C stops it.")
        assert httpx.get(f"{url}/readyz", trust_env=False).status_code == 200
        # ./.sluice is where a token is made unless told otherwise.
        token = sluice("token", "create", "--account", "Acme").stdout.strip()
        assert account_of(token, url) == "Acme"
        pids = processes(command)
        command.interrupt()
        assert command.status() == 0
        assert are_running(pids) == []
        assert command.text().endswith("Stopped.\n")
    logs = "".join((room / f".sluice/{name}.log").read_text() for name in ("api", "worker"))
    # Had the servers ended first, the API and the worker would have complained.
    assert [line for line in logs.splitlines() if '"level": "info"' not in line] == []
    assert "Finished server process" in logs

    with running("up", "--port", "0", directory=room) as command:
        url = command.wait_for("Sluice is up at ").removesuffix("/graphql. Ctrl-C stops it.")
        assert account_of(token, url) == "Acme"
        pids = processes(command)
        command.process.kill()
        wait_until(lambda: are_running(pids) == [])


def test_a_child_that_has_ended_is_told_with_the_end_of_its_log(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "worker.log"
    log.write_text("".join(f"line {number}\n" for number in range(20)))
    with subprocess.Popen(["/bin/sh", "-c", "exit 3"]) as process:
        process.wait()
        with pytest.raises(CannotRun) as refusal:
            watch([Child(name="worker", log=log, process=process)], [])
    ends = "\n".join(f"line {number}" for number in range(8, 20))
    assert str(refusal.value) == f"The worker ended with status 3. Its log, {log}, ends:\n{ends}"
    assert capsys.readouterr().err.splitlines() == [f"worker | line {number}" for number in range(20)]


def test_a_server_that_is_gone_is_told(tmp_path: Path) -> None:
    server = Server(
        name="Redis",
        command=[],
        user=None,
        socket=tmp_path / "redis.sock",
        log=tmp_path / "redis.log",
        lock=-1,
        stop_signal="TERM",
        question=b"",
        answer=b"",
    )
    with pytest.raises(CannotRun) as refusal:
        watch([], [server])
    assert str(refusal.value) == (
        f"Redis has ended (No such file or directory). Its log, {tmp_path / 'redis.log'}, tells why."
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_block_once_and_a_second_one_nothing(number: int) -> None:
    before = signal.getsignal(number)
    stopped = []

    @contextmanager
    def server() -> Iterator[None]:
        try:
            yield
        finally:
            os.kill(os.getpid(), number)
            stopped.append("in order")

    with pytest.raises(typer.Exit) as ended, until_stopped(7), server():
        os.kill(os.getpid(), number)
    assert (ended.value.exit_code, stopped, signal.getsignal(number)) == (7, ["in order"], before)


def test_serve_prints_the_port_that_it_chose_and_ends_by_sigterm(database_url: str, tmp_path: Path) -> None:
    settings = {
        "database_url": database_url,
        "redis_url": os.environ["SLUICE_TEST_REDIS_URL"],
        "secret_keys": new_key(),
    }
    with running("serve", "--port", "0", directory=tmp_path, **settings) as command:
        url = command.wait_for("Answering at ").removesuffix("/graphql")
        assert httpx.get(f"{url}/healthz", trust_env=False).json() == {"status": "ok"}
        command.process.terminate()
        assert command.status() == -signal.SIGTERM


def test_no_line_of_the_log_tells_what_a_websocket_asked_for(database_url: str, tmp_path: Path) -> None:
    settings = {
        "database_url": database_url,
        "redis_url": os.environ["SLUICE_TEST_REDIS_URL"],
        "secret_keys": new_key(),
    }
    with running("serve", "--port", "0", directory=tmp_path, **settings) as command:
        url = command.wait_for("Answering at ").replace("http", "ws", 1)
        for path in ("", "/elsewhere"):
            asked = f"{url}{path}?token=slc_secret"
            with suppress(InvalidStatus), connect(asked, subprotocols=[Subprotocol("graphql-transport-ws")]):
                pass
        command.process.terminate()
        command.status()

    events = [json.loads(line)["event"] for line in command.text().splitlines() if line.startswith("{")]
    assert events.count("connection open") == 1
    assert [line for line in command.text().splitlines() if "slc_secret" in line] == []


def test_what_hangs_is_given_up() -> None:
    with pytest.raises(TookTooLong, match=r"This took longer than 0.05 seconds\."), time_limit(0.05):
        time.sleep(5)
