"""What names mean on a made-up network, and a clock that is wrong: both as our process sees them."""

import asyncio
import sys
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, tzinfo
from socket import AF_INET, IPPROTO_TCP, SOCK_STREAM
from typing import Any

import anyio
import httpx_secure
import pytest
from anyio.abc import SocketAttribute

PUBLIC, PRIVATE = "93.184.215.14", "10.0.0.7"

connect_tcp = anyio.connect_tcp


@dataclass(slots=True)
class Names:
    """What each name means: look-ups take one answer after the other, the last one stays.

    Whoever connects to a public address reaches this machine. `connected`: the addresses that requests were sent to.
    """

    means: dict[str, list[str]] = field(default_factory=dict)
    connected: list[str] = field(default_factory=list)

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Let this process live on this network."""
        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", self._look_up)
        # It connects to learn which address it would be, and sends nothing there.
        monkeypatch.setattr(httpx_secure, "connect_tcp", self._probe)
        monkeypatch.setattr(anyio, "connect_tcp", self._connect)

    def _meaning(self, name: str) -> str:
        answers = self.means.get(name, [name])
        return answers.pop(0) if len(answers) > 1 else answers[0]

    async def _look_up(self, host: str, port: int, **_: Any) -> list[Any]:
        return [(AF_INET, SOCK_STREAM, IPPROTO_TCP, "", (self._meaning(host), port))]

    async def _probe(self, host: str, port: int, **_: Any) -> "_Probe":
        return _Probe((self._meaning(host), port))

    async def _connect(self, *, remote_host: str, remote_port: int, **_: Any) -> Any:
        self.connected.append(remote_host)
        return await connect_tcp("127.0.0.1", remote_port)


@dataclass(frozen=True, slots=True)
class _Probe:
    address: tuple[str, int]

    def extra(self, attribute: Any) -> tuple[str, int]:
        assert attribute is SocketAttribute.remote_address
        return self.address

    async def aclose(self) -> None:
        """There is no connection."""


class _Off(type):
    """`datetime`, but for `now`."""

    by: timedelta

    def __call__(cls, *values: Any, **named: Any) -> Any:
        return datetime(*values, **named)  # noqa: DTZ001

    def __getattr__(cls, name: str) -> Any:
        return getattr(datetime, name)

    def __instancecheck__(cls, value: object) -> bool:
        return isinstance(value, datetime)

    def now(cls, zone: tzinfo = UTC) -> datetime:
        return datetime.now(zone) + cls.by


def set_clock(monkeypatch: pytest.MonkeyPatch, *, off_by: timedelta) -> None:
    """Let our own code see a clock that is off; PostgreSQL and the vendors have their own."""
    clock = _Off("clock", (), {"by": off_by})
    for name, module in list(sys.modules.items()):
        if (
            name.partition(".")[0] in {"api", "connectors", "domain", "jobs"}
            and vars(module).get("datetime") is datetime
        ):
            monkeypatch.setattr(module, "datetime", clock)
