"""Where the data and the sockets live, and who the servers run as.

Nothing here changes the mode or the owner of a directory that was there before, and no user is ever created.
"""

import hashlib
import os
import pwd
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from api.embedded.process import EmbeddedError, User, run

SHELTER = Path("/var/lib/sluice")
UNPRIVILEGED = ("postgres", "nobody")
CLUSTER = "postgres"
"""What PostgreSQL keeps, inside the data."""
ELSEWHERE = "Choose another place for the data with --data."
# A socket's path may have 104 bytes on macOS, 108 on Linux; ours ends in "/sluice-xxxxxxxx/.s.PGSQL.5432".
LONGEST_TEMPORARY_DIRECTORY = 70


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where the data is kept, and who runs the servers: None stands for ourselves."""

    data: Path
    user: User | None
    notice: str | None = None


def place(wanted: Path) -> Place:
    """The place for data wanted at `wanted`: there, unless we are root and the servers' user cannot reach it."""
    wanted = wanted.expanduser().resolve()
    nearest = _nearest(wanted)
    if not nearest.is_dir():
        raise EmbeddedError(f"{nearest} is not a directory. {ELSEWHERE}")
    if os.geteuid() != 0:
        make(wanted, 0o700)
        return Place(data=wanted, user=None)
    user = _user_of(wanted)
    if _can_enter(nearest, user):
        make(wanted, 0o711)
        return Place(data=wanted, user=user)
    return _sheltered(wanted)


def has_database(wanted: Path) -> bool:
    """Whether a database is kept in the place for data wanted at `wanted`. Makes nothing."""
    wanted = wanted.expanduser().resolve()
    places = [wanted, _shelter(wanted)] if os.geteuid() == 0 else [wanted]
    return any(_nearest(data / CLUSTER) == data / CLUSTER for data in places)


def _shelter(wanted: Path) -> Path:
    digest = hashlib.sha256(os.fsencode(wanted)).hexdigest()[:12]
    return SHELTER / f"{wanted.name.lstrip('.') or 'data'}-{digest}"


def _sheltered(wanted: Path) -> Place:
    data = _shelter(wanted)
    user = _user_of(data)
    make(data, 0o711)
    reason = f"the servers run as {user.name}, who cannot reach {wanted}"
    if not _can_enter(data, user):
        raise EmbeddedError(f"Running as root: {reason}, nor {data}. {ELSEWHERE}")
    return Place(data=data, user=user, notice=f"Running as root: data is kept under {data}, because {reason}.")


def _user_of(data: Path) -> User:
    """Who owns the data that is there, so that it stays theirs; else a user that every system has."""
    with suppress(FileNotFoundError):
        owner = (data / CLUSTER).stat()
        if owner.st_uid != 0:
            return User(_name(owner.st_uid), owner.st_uid, owner.st_gid)
    for name in UNPRIVILEGED:
        with suppress(KeyError):
            entry = pwd.getpwnam(name)
            return User(name, entry.pw_uid, entry.pw_gid)
    raise EmbeddedError(
        f"PostgreSQL does not run as root, and there is no user {' or '.join(UNPRIVILEGED)} to run it as. "
        "Run sluice as an ordinary user."
    )


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"


def _can_enter(directory: Path, user: User) -> bool:
    """Tried rather than calculated: access lists and mounts have a say, too."""
    try:
        status, _ = run(["/bin/sh", "-c", 'cd -- "$1"', "sh", directory], user)
    except OSError as error:
        raise EmbeddedError(
            f"Running as root, but not allowed to become {user.name} ({error.strerror}). "
            "Run sluice as an ordinary user."
        ) from error
    return status == 0


def _nearest(path: Path) -> Path:
    """The deepest level of `path` that exists."""
    try:
        return next(level for level in [path, *path.parents] if level.exists())
    except OSError as error:
        raise EmbeddedError(f"Cannot look into {path} ({error.strerror}). {ELSEWHERE}") from error


def not_writable(directory: Path, error: OSError) -> EmbeddedError:
    """What to tell who wanted something written there."""
    return EmbeddedError(f"Cannot write in {directory} ({error.strerror}). {ELSEWHERE}")


def make(directory: Path, mode: int, owner: User | None = None) -> None:
    """Make what is missing of `directory` with exactly `mode`, whatever the umask, for `owner` (None: us)."""
    missing = [level for level in [directory, *directory.parents] if not level.exists()]
    try:
        for level in reversed(missing):
            level.mkdir(mode & 0o700)
            level.chmod(mode)
            give(level, owner)
    except OSError as error:
        raise not_writable(_nearest(directory), error) from error


def give(path: Path, owner: User | None) -> None:
    """Hand what we have just made to the servers' user."""
    if owner is not None:
        os.chown(path, owner.uid, owner.gid, follow_symlinks=False)


@contextmanager
def socket_directory(user: User | None) -> Iterator[Path]:
    """A short private directory for the sockets, gone afterwards."""
    usual = Path(tempfile.gettempdir()).resolve()
    fits = len(os.fsencode(usual)) <= LONGEST_TEMPORARY_DIRECTORY
    base = usual if fits and (user is None or _can_enter(usual, user)) else Path("/tmp")  # noqa: S108
    directory = Path(tempfile.mkdtemp(prefix="sluice-", dir=base))
    try:
        give(directory, user)
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)
