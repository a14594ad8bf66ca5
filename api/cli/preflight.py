"""Looks for everything that a command needs, and says what to do about what is missing."""

import pkgutil
from collections.abc import Sequence

import asyncpg
import redis
from tortoise.exceptions import ConfigurationError

from api.cli.failures import CannotRun
from domain import credentials, migrations
from domain.database import tortoise_config
from domain.errors import Misconfigured
from domain.settings import settings

CONNECT_SECONDS = 5.0
OLDEST_POSTGRES = 14
OLDEST_REDIS = (6, 2)
DATABASE_FORM = "postgres://user:password@host/name"
REDIS_FORM = "redis://host:6379/0"
BRINGS_ITS_OWN = "or run `sluice up`, which brings its own"


def database_url() -> str:
    """SLUICE_DATABASE_URL, which must be set."""
    url = settings().database_url
    if url is None:
        raise CannotRun(
            f"SLUICE_DATABASE_URL is not set. Set it to a PostgreSQL {OLDEST_POSTGRES} or newer, as {DATABASE_FORM}, "
            f"{BRINGS_ITS_OWN}."
        )
    return url.get_secret_value()


def redis_url() -> str:
    """SLUICE_REDIS_URL, which must be set."""
    url = settings().redis_url
    if url is None:
        raise CannotRun(
            f"SLUICE_REDIS_URL is not set. Set it to a Redis 6.2 or newer, as {REDIS_FORM}, {BRINGS_ITS_OWN}."
        )
    return url.get_secret_value()


async def check_everything() -> None:
    """All that a process needs that serves users or works for them. Raises CannotRun or Misconfigured."""
    problems = []
    for setting in (database_url, redis_url, credentials.key_ring):
        try:
            setting()
        except (CannotRun, Misconfigured) as problem:
            problems.append(str(problem))
    if problems:
        raise CannotRun("\n".join(problems))
    check_redis(redis_url())
    await check_database(database_url())


async def check_database(url: str) -> None:
    """Whether PostgreSQL answers, and the database is migrated. Raises CannotRun."""
    missing = await missing_migrations(url)
    if missing:
        raise CannotRun(f"The database lacks {', '.join(missing)}: run `sluice migrate`.")


def check_redis(url: str) -> None:
    """Whether Redis answers, and is new enough. Raises CannotRun."""
    try:
        with redis.Redis.from_url(
            url, socket_connect_timeout=CONNECT_SECONDS, socket_timeout=CONNECT_SECONDS
        ) as client:
            version = str(client.info("server")["redis_version"])
    except ValueError:
        raise CannotRun(f"SLUICE_REDIS_URL is malformed. It must be {REDIS_FORM} or unix:///path/to/socket.") from None
    except (
        redis.AuthenticationError,
        redis.exceptions.AuthorizationError,
        redis.exceptions.NoPermissionError,
    ) as error:
        raise CannotRun(f"Redis does not let us in ({error}): check user and password in SLUICE_REDIS_URL.") from None
    except (redis.RedisError, OSError) as error:
        raise CannotRun(f"Cannot reach Redis ({error}). Start it, or correct SLUICE_REDIS_URL.") from None
    if tuple(int(part) for part in version.split(".")[:2]) < OLDEST_REDIS:
        raise CannotRun(f"Redis {version} is too old. Set SLUICE_REDIS_URL to a Redis 6.2 or newer.")


async def missing_migrations(url: str) -> Sequence[str]:
    """The migrations that the database lacks, oldest first. Raises CannotRun where it cannot be asked."""
    connection = await _connect(url)
    try:
        version = connection.get_server_version()
        if version.major < OLDEST_POSTGRES:
            raise CannotRun(
                f"PostgreSQL {version.major} is too old. Set SLUICE_DATABASE_URL to a PostgreSQL {OLDEST_POSTGRES} or "
                "newer."
            )
        rows = await connection.fetch("SELECT name FROM tortoise_migrations WHERE app = 'domain'")
    except asyncpg.UndefinedTableError:
        rows = []
    except asyncpg.InsufficientPrivilegeError as error:
        raise CannotRun(f"The user in SLUICE_DATABASE_URL may not read the database: {error}.") from None
    finally:
        await connection.close()
    applied = {row["name"] for row in rows}
    known = sorted(module.name for module in pkgutil.iter_modules(migrations.__path__))
    return [name for name in known if name not in applied]


async def _connect(url: str) -> "asyncpg.Connection[asyncpg.Record]":
    malformed = CannotRun(f"SLUICE_DATABASE_URL is malformed. It must be {DATABASE_FORM}.")
    try:
        if not url.startswith(("postgres://", "postgresql://")):
            raise malformed
        credentials_of_url = tortoise_config(url)["connections"]["default"]["credentials"]
    except (ConfigurationError, ValueError):
        raise malformed from None
    keys = ("host", "port", "user", "password", "database")
    host, _, user, _, name = (credentials_of_url[key] for key in keys)
    server = f"PostgreSQL at {host}" if host else "PostgreSQL"
    arguments = {key: credentials_of_url[key] for key in keys}
    try:
        return await asyncpg.connect(**arguments, timeout=CONNECT_SECONDS)
    except asyncpg.InvalidCatalogNameError:
        message = f"{server} has no database {name!r}. Create it (createdb {name}), or correct SLUICE_DATABASE_URL."
    except (asyncpg.InvalidAuthorizationSpecificationError, asyncpg.InterfaceError) as error:
        message = f"{server} does not let {user!r} in ({error}): check user and password in SLUICE_DATABASE_URL."
    except TimeoutError:
        message = f"{server} does not answer in {CONNECT_SECONDS:g} seconds. Start it, or correct SLUICE_DATABASE_URL."
    except (asyncpg.PostgresError, OSError) as error:
        message = f"Cannot reach {server} ({error}). Start it, or correct SLUICE_DATABASE_URL."
    raise CannotRun(message)
