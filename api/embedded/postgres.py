"""An embedded PostgreSQL: a password, one Unix socket, no TCP."""

import os
import secrets
import shutil
import socket
import struct
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

from api.embedded.binaries import Version, find_postgres
from api.embedded.lock import is_alive
from api.embedded.placement import CLUSTER, ELSEWHERE, Place, give, make
from api.embedded.process import Command, EmbeddedError, Server, run

NAME = "sluice"  # of the user and of the database
PORT = 5432
SETTINGS = {
    "listen_addresses": "",
    "port": str(PORT),
    "unix_socket_permissions": "0700",
    "max_connections": "200",
    "shared_buffers": "128MB",
    "timezone": "UTC",
    "log_timezone": "UTC",
}
NOT_DURABLE = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
STARTUP = b"\0\3\0\0user\0" + NAME.encode() + b"\0database\0" + NAME.encode() + b"\0\0"


def prepare(place: Place, sockets: Path, lock: int, *, durable: bool) -> Server:
    """The server, not started yet, on a cluster that is made where there is none."""
    programs, release = find_postgres(place.user)
    cluster = place.data / CLUSTER
    if not cluster.exists():
        _initialise(place, sockets, lock, durable=durable)
    _check_release(cluster, release)
    _remove_stale_pid_file(cluster)
    settings = SETTINGS | {"unix_socket_directories": str(sockets)} | ({} if durable else NOT_DURABLE)
    options = [option for name, value in settings.items() for option in ("-c", f"{name}={value}")]
    return Server(
        name="PostgreSQL",
        command=[programs / "postgres", "-D", cluster, *options],
        user=place.user,
        socket=sockets / f".s.PGSQL.{PORT}",
        log=place.data / "postgres.log",
        lock=lock,
        stop_signal="INT",
        question=struct.pack("!I", len(STARTUP) + 4) + STARTUP,
        answer=b"R",
    )


def url(data: Path, sockets: Path) -> str:
    """The database's URL, with its password."""
    try:
        password = _password_file(data).read_text()
    except OSError as error:
        raise EmbeddedError(
            f"Cannot read {_password_file(data)} ({error.strerror}), without which nobody can open the database "
            f"in {data / CLUSTER}. Restore it. {ELSEWHERE}"
        ) from error
    return f"postgres://{NAME}:{password}@/{NAME}?host={quote(str(sockets))}"


def _password_file(data: Path) -> Path:
    return data / "password"


def _initialise(place: Place, sockets: Path, lock: int, *, durable: bool) -> None:
    """Make the cluster beside its place, and move it there when it is whole."""
    programs, release = find_postgres(place.user)
    fresh = place.data / "postgres.new"
    shutil.rmtree(fresh, ignore_errors=True)
    password = secrets.token_hex(24)
    handed_over = sockets / "password"
    _write_private(handed_over, password)
    give(handed_over, place.user)
    make(fresh, 0o700, place.user)
    initdb: Command = [programs / "initdb", "--pgdata", fresh, f"--username={NAME}", "--pwfile", handed_over]
    options = ["--auth=scram-sha-256", "--encoding=UTF8", "--no-instructions", *_locale(release)]
    single: Command = [programs / "postgres", "--single", "-D", fresh, "-c", f"fsync={'on' if durable else 'off'}"]
    try:
        _run(place, lock, [*initdb, *options, *([] if durable else ["--no-sync"])])
        _run(place, lock, [*single, "postgres"], text=f"CREATE DATABASE {NAME};\n")
        _password_file(place.data).unlink(missing_ok=True)
        _write_private(_password_file(place.data), password)
        fresh.rename(place.data / CLUSTER)
    finally:
        handed_over.unlink(missing_ok=True)
        shutil.rmtree(fresh, ignore_errors=True)


def _locale(release: Version) -> list[str]:
    """The same order and letters on every machine: those that PostgreSQL brings itself, where it does."""
    if release >= (17, 0):
        return ["--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"]
    return ["--locale=C.UTF-8"]


def _run(place: Place, lock: int, command: Command, *, text: str = "") -> None:
    status, output = run(command, place.user, text=text, keep=[lock])
    # PostgreSQL's single-user mode ends with status 0 whatever became of its statements.
    if status != 0 or "ERROR:" in output:
        raise EmbeddedError(f"{Path(command[0]).name} could not make the database:\n{output.strip()}")


def _write_private(path: Path, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)


def _check_release(cluster: Path, release: Version) -> None:
    try:
        written_by = (cluster / "PG_VERSION").read_text().strip()
    except OSError as error:
        raise EmbeddedError(
            f"{cluster} is not a data directory of PostgreSQL ({error.strerror}). {ELSEWHERE}"
        ) from error
    if written_by != str(release[0]):
        raise EmbeddedError(
            f"{cluster} was written by PostgreSQL {written_by}, and this is PostgreSQL {release[0]}. Save it with "
            f"pg_dump of PostgreSQL {written_by}, and restore it into a new place (--data)."
        )


def _remove_stale_pid_file(cluster: Path) -> None:
    """Remove the pid file of a killed server whose number another process has by now.

    PostgreSQL would take that process for the server. Ours are dead, for they would hold the lock that we hold; one
    that somebody started by hand answers on the socket that its pid file names.
    """
    path = cluster / "postmaster.pid"
    with suppress(OSError):
        pid, _, _, port, directory, *_ = [*path.read_text().splitlines(), "", "", "", "", ""]
        if not directory or not is_alive(pid):
            return
        with suppress(OSError), socket.socket(socket.AF_UNIX) as client:
            client.connect(f"{directory}/.s.PGSQL.{port}")
            raise EmbeddedError(f"{cluster} is in use by PostgreSQL, process {pid}. Stop it first.")
        path.unlink()
