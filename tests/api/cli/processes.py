"""The `sluice` command as a process of its own, as a shell would run it."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

START_SECONDS = 60


@contextmanager
def open_directory() -> Iterator[Path]:
    """A directory that everybody can enter, as the servers' user must, unlike pytest's own."""
    with tempfile.TemporaryDirectory(prefix="sluice-test-") as directory:
        Path(directory).chmod(0o711)
        yield Path(directory).resolve()


@dataclass(slots=True)
class Command:
    """A running `sluice`, the leader of a process group as under a shell. It writes both streams to `output`."""

    process: subprocess.Popen[bytes]
    output: Path

    def text(self) -> str:
        return self.output.read_text()

    def wait_for(self, text: str) -> str:
        """What follows `text` on its line, as soon as it is there."""
        wait_until(lambda: text in self.text() or self.process.poll() is not None, seconds=START_SECONDS)
        assert text in self.text(), self.text()
        wait_until(lambda: "\n" in self.text().partition(text)[2])
        return self.text().partition(text)[2].partition("\n")[0]

    def interrupt(self) -> None:
        """Ctrl-C, as a terminal sends it: to the whole group."""
        os.killpg(self.process.pid, signal.SIGINT)

    def status(self) -> int:
        """Its exit status, once it has ended by itself, within seconds."""
        return self.process.wait(15)


@contextmanager
def running(*arguments: str, directory: Path, **settings: str) -> Iterator[Command]:
    """Run `sluice` in `directory`, with its temporary files there, these settings and no others.

    What is still running in the end is killed.
    """
    ours = {name: value for name, value in os.environ.items() if not name.startswith("SLUICE_")}
    given = {f"SLUICE_{name.upper()}": value for name, value in settings.items()}
    output = directory / f"{arguments[0]}.output"
    with (
        output.open("wb") as file,
        subprocess.Popen(
            [sys.executable, "-P", "-m", "api.cli", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            cwd=directory,
            env=ours | given | {"PYTHONUNBUFFERED": "1", "TMPDIR": str(directory)},
            process_group=0,
        ) as process,
    ):
        try:
            yield Command(process, output)
        finally:
            process.kill()


def descendants(pid: int) -> dict[int, str]:
    """The command lines of the processes that `pid` started, and of those that they started."""
    listed = subprocess.run(["ps", "-A", "-ww", "-o", "pid=,ppid=,args="], capture_output=True, text=True, check=True)
    rows = [line.split(None, 2) for line in listed.stdout.splitlines()]
    found: dict[int, str] = {}
    parents = {pid}
    while parents:
        children = {int(row[0]): row[2] for row in rows if int(row[1]) in parents}
        found |= children
        parents = set(children)
    return found


def are_running(pids: Sequence[int]) -> list[int]:
    """Those of the processes that have not ended. One that nobody has waited for has ended."""
    listed = subprocess.run(
        ["ps", "-o", "pid=,stat=", "-p", ",".join(map(str, pids))], capture_output=True, text=True, check=False
    )
    return [int(row.split()[0]) for row in listed.stdout.splitlines() if not row.split()[1].startswith("Z")]


def wait_until(reached: Callable[[], bool], *, seconds: float = 15) -> None:
    deadline = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < deadline
        time.sleep(0.05)
