"""The settings that the processes of an embedded stack get, by environment."""

import os
import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from api.embedded import placement
from domain import credentials
from domain.errors import Misconfigured
from domain.settings import Settings, client_registration, settings

SECRET_KEYS = "SLUICE_SECRET_KEYS"  # noqa: S105
REGISTRATION = re.compile(r"SLUICE_\w+_CLIENT_(ID|SECRET)")


def adopt(values: Mapping[str, str]) -> None:
    """Let `values` be our settings, and those of the processes that we start."""
    os.environ.update(values)
    settings.cache_clear()
    client_registration.cache_clear()
    credentials.key_ring.cache_clear()


def forget_settings() -> None:
    """Let no settings of the user apply, but whose pages may call: what is only shown must not reach what is real."""
    for name in Settings.model_fields.keys() - {"cors_origins"}:
        os.environ.pop(f"{Settings.model_config['env_prefix']}{name}".upper(), None)
    for name in [name for name in os.environ if REGISTRATION.fullmatch(name)]:
        del os.environ[name]


def adopt_keys(data: Path) -> None:
    """Let the keys of the data in `data` be ours, unless SLUICE_SECRET_KEYS is set. Before its servers start."""
    if SECRET_KEYS not in os.environ:
        adopt({SECRET_KEYS: secret_keys(data)})


def adopt_stack(database_url: str, redis_url: str) -> None:
    """Let this stack be our database and queue."""
    adopt({"SLUICE_DATABASE_URL": database_url, "SLUICE_REDIS_URL": redis_url})


def secret_keys(data: Path) -> str:
    """The keys of the data in `data`, made where there is no database yet. Only their owner can read them."""
    directory = placement.place(data).data
    path = directory / "secret_keys"
    # Looked at first: whoever makes the database meanwhile has made the keys before.
    is_needed = (directory / placement.CLUSTER).exists()
    with suppress(FileNotFoundError):
        return _read(path)
    if is_needed:
        raise Misconfigured(
            f"{path} is missing. Restore it from the backup; without it no stored credentials can be read."
        )
    fresh = path.with_name(f"secret_keys.{os.getpid()}")
    try:
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(credentials.new_key() + "\n")
            file.flush()
            os.fsync(descriptor)
        # Of two processes that come first together, one is; nobody sees half a file.
        with suppress(FileExistsError):
            os.link(fresh, path)
        fresh.unlink()
    except OSError as error:
        raise placement.not_writable(path.parent, error) from error
    return _read(path)


def _read(path: Path) -> str:
    try:
        text = path.read_text().strip()
        credentials.parse_key_ring(text)
    except Misconfigured:
        raise Misconfigured(f"{path} is damaged. Restore it: without it no stored credentials can be read.") from None
    return text
