"""The processes of our own that a command runs beside it: the API and the worker.

They end when this process ends, however it ends, by the same means as the embedded servers. Their logs are files:
a terminal that stands still must not hold them up.
"""

import fcntl
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

import httpx

from api.cli.failures import CannotRun, say
from api.embedded.process import SUPERVISOR, Server

STOP_SECONDS = 10.0
READY_SECONDS = 60.0
LOOK_EVERY = 0.1
LOOK_AT_SERVERS_EVERY = 2.0
LOG_LINES = 12
# The shell that watches over a child uses the first ten for itself.
FIRST_DESCRIPTOR = 10


@dataclass(slots=True, kw_only=True)
class Child:
    """A running process of ours, and how far its log has been shown."""

    name: str
    log: Path
    process: subprocess.Popen[bytes] = field(repr=False)
    shown: int = 0

    def check(self) -> None:
        """Raise CannotRun, with the end of its log, if it has ended: nothing is restarted silently."""
        status = self.process.poll()
        if status is not None:
            raise CannotRun(f"The {self.name} ended with status {status}. {self.last_words()}")

    def last_words(self) -> str:
        """The end of its log."""
        lines = self.log.read_text(errors="replace").splitlines()[-LOG_LINES:]
        return "\n".join([f"Its log, {self.log}, ends:", *lines])

    def show_log(self) -> None:
        """Show the lines that its log has gained."""
        with self.log.open("rb") as log:
            log.seek(self.shown)
            text = log.read()
        whole = text[: text.rfind(b"\n") + 1]
        self.shown += len(whole)
        for line in whole.decode(errors="replace").splitlines():
            say(f"{self.name:<6} | {line}")


@contextmanager
def api_and_worker(logs: Path, listener: socket.socket) -> Iterator[Sequence[Child]]:
    """Run the API on `listener`, which is its alone from now on, and a worker, until the block ends.

    Our environment is theirs.
    """
    descriptor = fcntl.fcntl(listener, fcntl.F_DUPFD_CLOEXEC, FIRST_DESCRIPTOR)
    listener.close()
    children: list[Child] = []
    try:
        try:
            children.append(_start("API", ["serve", "--fd", str(descriptor)], logs / "api.log", keep=[descriptor]))
        finally:
            os.close(descriptor)
        children.append(_start("worker", ["worker"], logs / "worker.log"))
        yield children
    finally:
        for child in children:
            _signal(child.process, "TERM")
        for child in children:
            _wait(child.process)


def wait_until_ready(url: str, children: Sequence[Child]) -> None:
    """Return once the API at `url` is ready. Raises CannotRun."""
    deadline = time.monotonic() + READY_SECONDS
    with httpx.Client(trust_env=False, timeout=2) as client:
        while True:
            for child in children:
                child.check()
            with suppress(httpx.TransportError):
                if client.get(f"{url}/readyz").is_success:
                    return
            if time.monotonic() > deadline:
                raise CannotRun(f"The API was not ready in {READY_SECONDS:g} seconds. {children[0].last_words()}")
            time.sleep(LOOK_EVERY)


def watch(children: Sequence[Child], servers: Iterable[Server]) -> NoReturn:
    """Show what the children log, until one of them, or of the servers, has ended: then CannotRun is raised."""
    look_at_servers = 0.0
    while True:
        for child in children:
            child.show_log()
            child.check()
        if time.monotonic() > look_at_servers:
            look_at_servers = time.monotonic() + LOOK_AT_SERVERS_EVERY
            for server in servers:
                _check_server(server)
        time.sleep(LOOK_EVERY)


def _start(name: str, arguments: Sequence[str], log: Path, *, keep: Sequence[int] = ()) -> Child:
    with suppress(FileNotFoundError):
        log.replace(log.with_suffix(".previous.log"))
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
    # The supervisor's second argument is a directory to remove in the end: there is none.
    supervisor = ["/bin/sh", "-c", SUPERVISOR, "sh", "TERM", ""]
    try:
        process = subprocess.Popen(  # noqa: S603  ourselves
            # -P: a directory `api` of whoever starts us is not ours.
            [*supervisor, sys.executable, "-P", "-m", "api.cli", *arguments],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            bufsize=0,
            pass_fds=keep,
            # Ctrl-C is for us alone: we stop what we started, in order.
            start_new_session=True,
        )
    finally:
        os.close(output)
    return Child(name=name, log=log, process=process)


def _check_server(server: Server) -> None:
    try:
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(server.socket))
    except OSError as error:
        raise CannotRun(f"{server.name} has ended ({error.strerror}). Its log, {server.log}, tells why.") from None


def _signal(process: subprocess.Popen[bytes], name: str) -> None:
    if process.stdin is None:
        raise RuntimeError("a child is always started with a pipe")
    with suppress(BrokenPipeError):
        process.stdin.write(f"{name}\n".encode())


def _wait(process: subprocess.Popen[bytes]) -> None:
    with process:
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            _signal(process, "KILL")
            process.wait()
