"""Everything that is read from the environment, once, frozen. Variables are `SLUICE_` + the upper-cased name."""

from functools import cache
from typing import Annotated

from pydantic import AfterValidator, Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict


def _without_slash(url: str) -> str:
    return url.rstrip("/")


class Settings(BaseSettings):
    """The settings of every process; README.md lists them from here."""

    model_config = SettingsConfigDict(env_prefix="SLUICE_", frozen=True, extra="ignore")

    database_url: SecretStr | None = Field(
        None, description="PostgreSQL 14 or newer, as `postgres://user:password@host/name`."
    )
    redis_url: SecretStr | None = Field(
        None, description="Redis 6.2 or newer, as `redis://host:6379/0` or `unix:///path/to/socket`."
    )
    secret_keys: SecretStr | None = Field(
        None,
        description="Keys that encrypt credentials, as `id:base64` of 32 bytes, comma-separated. "
        "The first encrypts, all decrypt.",
    )
    cycle_seconds: float = Field(
        1800, gt=0, le=604_800, description="Seconds between two checks of an external account."
    )
    cap: int = Field(500, ge=1, le=1_000_000_000, description="Contacts written per external account and cycle.")
    review_changed_percent: float = Field(
        20,
        ge=0,
        le=100,
        description="Percent of the known records read that may lose a value, their address or "
        "consent in one pass, before an import stops for review.",
    )
    review_changed_count: int = Field(
        50, ge=0, description="As many such records never stop an import, whatever their part."
    )
    review_missing_percent: float = Field(
        10,
        ge=0,
        le=100,
        description="Percent of the known records that a complete sweep may miss, before an import stops for review.",
    )
    review_missing_count: int = Field(
        20, ge=0, description="As many missing records never stop an import, whatever their part."
    )
    lease_seconds: float = Field(
        45, gt=0, le=3600, description="Seconds without a sign of life after which a worker's cycle is taken over."
    )
    outcome_days: int = Field(
        30, ge=1, le=3650, description="Days for which outcomes, and what was finished as long ago, are kept."
    )
    allow_private_hosts: bool = Field(
        False, description="Let users connect services on private and loopback addresses."
    )
    service_origins: Annotated[dict[str, str], NoDecode] = Field(
        {},
        description="Origins of services that are reached elsewhere, as "
        "`https://people.googleapis.com=http://127.0.0.1:9000`, comma-separated: for simulators. "
        "Private targets need SLUICE_ALLOW_PRIVATE_HOSTS.",
    )
    cors_origins: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="Origins whose pages may call the API, comma-separated."
    )
    public_url: Annotated[str, AfterValidator(_without_slash)] | None = Field(
        None, pattern=r"^https?://", description="Where users reach the API, for links that work anywhere."
    )
    new_account_plan: str = Field("contacts-10000", description="The plan tier a new account starts on.")
    database_pool: int = Field(10, ge=2, le=1000, description="The most database connections one process opens.")
    fast_executor: bool = Field(True, description="Complete plain GraphQL fields by compiled plans.")
    log_format: str = Field("json", pattern="^(json|console)$", description="How logs are written: json or console.")

    @field_validator("service_origins", mode="before")
    @classmethod
    def _pairs(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        pairs = [part.strip().partition("=") for part in value.split(",") if part.strip()]
        return {origin.rstrip("/"): target.rstrip("/") for origin, _, target in pairs}

    @field_validator("cors_origins", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


class ClientRegistration(BaseSettings):
    """How this server is registered as an OAuth client at one service."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore")

    client_id: str | None = None
    client_secret: SecretStr | None = None


@cache
def client_registration(service: str) -> ClientRegistration:
    """What SLUICE_<SERVICE>_CLIENT_ID and SLUICE_<SERVICE>_CLIENT_SECRET say."""
    return ClientRegistration(_env_prefix=f"SLUICE_{service.upper()}_")


@cache
def settings() -> Settings:
    """The settings of this process."""
    return Settings()
