"""One stack at a time on the same data.

The lock is the kernel's and is inherited by the servers: it lasts exactly as long as anything of the stack lives.
The file tells who holds it and where the sockets are.
"""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

from api.embedded.placement import ELSEWHERE, not_writable
from api.embedded.process import EmbeddedError

STOPPING_SECONDS = 20.0


@contextmanager
def locked(data: Path, sockets: Path) -> Iterator[int]:
    """Hold the data; the descriptor of the lock. Raises EmbeddedError naming the process that holds it."""
    with _open(data) as file:
        _acquire(file, data)
        _write(file, f"{os.getpid()}\n{sockets}\n")
        try:
            yield file.fileno()
        finally:
            _write(file, "")


def holder(data: Path) -> tuple[str, Path] | None:
    """The process that holds the data, and its sockets; None where nobody does."""
    with _open(data) as file:
        with suppress(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return None
        return _read(file)


def _open(data: Path) -> TextIO:
    try:
        descriptor = os.open(data / "lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise not_writable(data, error) from error
    # A shell that inherits it uses the first ten for itself.
    high = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 10)
    os.close(descriptor)
    return os.fdopen(high, "r+")


def _acquire(file: TextIO, data: Path) -> None:
    deadline = time.monotonic() + STOPPING_SECONDS
    while True:
        with suppress(BlockingIOError):
            return fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Of a holder that was killed the servers may still be stopping: that is worth waiting for.
        pid, _ = _read(file)
        if is_alive(pid) or time.monotonic() > deadline:
            raise EmbeddedError(f"{data} is in use by process {pid}. Stop it first. {ELSEWHERE}")
        time.sleep(0.05)


def is_alive(pid: str) -> bool:
    """Whether there is a process with this number, whoever owns it."""
    try:
        os.kill(int(pid), 0)
    except (ValueError, ProcessLookupError):
        return False
    except PermissionError:
        return True
    return True


def _read(file: TextIO) -> tuple[str, Path]:
    file.seek(0)
    pid, sockets, *_ = [*file.read().splitlines(), "", ""]
    return pid, Path(sockets)


def _write(file: TextIO, text: str) -> None:
    file.seek(0)
    file.truncate()
    file.write(text)
    file.flush()
