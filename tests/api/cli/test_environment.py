"""The settings that our own processes get."""

import os
from pathlib import Path

import pytest

from api.cli.environment import forget_settings, secret_keys
from domain.errors import Misconfigured


def test_what_is_only_shown_is_not_registered_at_real_services(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", dict(os.environ))
    for name in ("SLUICE_SHOPIFY_CLIENT_ID", "SLUICE_GOOGLE_CONTACTS_CLIENT_SECRET", "SLUICE_PUBLIC_URL", "CLIENT_ID"):
        os.environ[name] = "real"

    forget_settings()

    assert [name for name in os.environ if os.environ[name] == "real"] == ["CLIENT_ID"]


def test_pages_that_may_reach_the_api_may_reach_what_is_only_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", {"SLUICE_CORS_ORIGINS": "http://localhost:5173", "SLUICE_CAP": "1"})

    forget_settings()

    assert os.environ == {"SLUICE_CORS_ORIGINS": "http://localhost:5173"}


def test_keys_are_made_once_and_only_where_there_is_no_database_yet(room: Path) -> None:
    keys = secret_keys(room)
    (room / "postgres").mkdir()
    assert secret_keys(room) == keys

    (room / "secret_keys").unlink()
    with pytest.raises(Misconfigured) as refused:
        secret_keys(room)

    assert str(refused.value) == (
        f"{room / 'secret_keys'} is missing. Restore it from the backup; without it no stored credentials can be read."
    )
    assert [path.name for path in room.iterdir()] == ["postgres"]
