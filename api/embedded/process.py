"""Starts a server so that it ends with this process, and stops it in its own way.

Every server is the child of a small shell that reads from a pipe of ours. A word on the pipe is a signal for the
server; the end of the pipe, however this process ended, stands for the server's own stop signal. That works
alike on Linux and macOS and, unlike `preexec_fn` or PR_SET_PDEATHSIG, in a program with threads.
"""

import os
import socket
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

START_SECONDS = 60.0
STOP_SECONDS = 20.0
LONGEST_PAUSE_SECONDS = 0.5
LOG_LINES = 12

Command = Sequence[str | Path]

# Only the shell waits for the server, so the server's number cannot pass to a stranger while the watcher may
# still signal it. The watcher ends by itself only with the pipe: then nobody else is left to remove the directory
# of the sockets.
SUPERVISOR = """
stop=$1 directory=$2; shift 2
exec 3<&0 </dev/null
"$@" 3<&- &
server=$!
(
    exec >/dev/null 2>&1
    while read -r signal; do kill -s "$signal" "$server"; done <&3
    kill -s "$stop" "$server"
) &
watcher=$!
wait "$server" 2>/dev/null; status=$?
kill "$watcher" 2>/dev/null
wait "$watcher" 2>/dev/null && rmdir "$directory" 2>/dev/null
exit "$status"
"""


class EmbeddedError(Exception):
    """The embedded servers cannot run here; the message says what to do."""


@dataclass(frozen=True, slots=True)
class User:
    """The unprivileged user that the servers run as when root starts them."""

    name: str
    uid: int
    gid: int


def spawn(
    command: Command, user: User | None, *, output: int = subprocess.PIPE, keep: Sequence[int] = ()
) -> subprocess.Popen[bytes]:
    """Start `command` as `user` (None: as we are) in a session of its own, so that Ctrl-C does not reach it.

    `keep` are the descriptors it inherits. It sees none of our environment: secrets stay here.
    """
    return subprocess.Popen(  # noqa: S603 - programs that we found ourselves, and no shell in between
        [str(part) for part in command],
        stdin=subprocess.PIPE,
        stdout=output,
        stderr=subprocess.STDOUT,
        bufsize=0,
        cwd="/",
        env=_environment(),
        user=user.uid if user else None,
        group=user.gid if user else None,
        extra_groups=[] if user else None,
        pass_fds=keep,
        start_new_session=True,
    )


def _environment() -> dict[str, str]:
    passed_on = ("PATH", "LD_LIBRARY_PATH", "TMPDIR")
    return {"LC_ALL": "C"} | {name: os.environ[name] for name in passed_on if name in os.environ}


def run(command: Command, user: User | None, *, text: str = "", keep: Sequence[int] = ()) -> tuple[int, str]:
    """Run `command` to its end with `text` as its input; its exit status and all it wrote."""
    with spawn(command, user, keep=keep) as process:
        try:
            output, _ = process.communicate(text.encode())
        except BaseException:
            process.kill()
            raise
    return process.returncode, output.decode(errors="replace")


@dataclass(slots=True, kw_only=True)
class Server:
    """One server. It may be stopped and started again on the same socket, data and settings.

    Both block until it is done: from asynchronous code, call them with `asyncio.to_thread`.
    """

    name: str
    command: Command
    user: User | None
    socket: Path
    log: Path
    lock: int  # above 9; inherited, so that the data stays locked as long as anything of the server lives
    stop_signal: str
    question: bytes  # what a client says first
    answer: bytes  # how the reply begins once the server serves
    _process: subprocess.Popen[bytes] | None = field(default=None, init=False, repr=False)

    def start(self) -> None:
        """Start, and return once the server answers. Raises EmbeddedError with the end of its log."""
        self.launch()
        self.wait_until_ready()

    def stop(self, *, abruptly: bool = False) -> None:
        """End the server and wait for it; abruptly is kill -9, as a crash would be. Nothing if it is not running."""
        process, self._process = self._process, None
        if process is None:
            return
        with process:
            _signal(process, "KILL" if abruptly else self.stop_signal)
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                _signal(process, "KILL")
                process.wait()

    def launch(self) -> None:
        """Start without waiting, so that two servers can come up side by side."""
        if self._process is not None:
            raise RuntimeError(f"{self.name} was started already")
        with suppress(FileNotFoundError):
            self.log.replace(self.log.with_suffix(".previous.log"))
        log = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
        try:
            supervisor: Command = ["/bin/sh", "-c", SUPERVISOR, "sh", self.stop_signal, self.socket.parent]
            self._process = spawn([*supervisor, *self.command], self.user, output=log, keep=[self.lock])
        finally:
            os.close(log)

    def wait_until_ready(self) -> None:
        """Return once the server answers. Raises EmbeddedError with the end of its log."""
        deadline = time.monotonic() + START_SECONDS
        pause = 0.005
        while not self._answers():
            ended = self._process is None or self._process.poll() is not None
            if ended or time.monotonic() > deadline:
                self.stop()
                fate = "ended while starting" if ended else f"did not come up in {START_SECONDS:g} seconds"
                raise EmbeddedError(f"{self.name} {fate}. {self._last_words()}")
            time.sleep(pause)
            pause = min(pause * 1.3, LONGEST_PAUSE_SECONDS)

    def _answers(self) -> bool:
        with suppress(OSError), socket.socket(socket.AF_UNIX) as client:
            client.settimeout(1)
            client.connect(str(self.socket))
            client.sendall(self.question)
            return client.recv(64).startswith(self.answer)
        return False

    def _last_words(self) -> str:
        lines = self.log.read_text(errors="replace").splitlines()[-LOG_LINES:]
        return "\n".join([f"Its log, {self.log}, ends:", *lines])


def _signal(process: subprocess.Popen[bytes], name: str) -> None:
    if process.stdin is None:
        raise RuntimeError("a server is always started with a pipe")
    with suppress(BrokenPipeError):
        process.stdin.write(f"{name}\n".encode())
