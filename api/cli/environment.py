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


def adopt_stack(database_url: str, redis_url: str, data: Path) -> None:
    """Let the stack on `data` be our database and queue, with its own keys unless SLUICE_SECRET_KEYS is set."""
    values = {"SLUICE_DATABASE_URL": database_url, "SLUICE_REDIS_URL": redis_url}
    if SECRET_KEYS not in os.environ:
        values[SECRET_KEYS] = secret_keys(data)
    adopt(values)


def secret_keys(data: Path) -> str:
    """The keys of the data in `data`, made when they are first asked for. Only their owner can read them."""
    path = placement.place(data).data / "secret_keys"
    with suppress(FileNotFoundError):
        return _read(path)
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
