"""The CardDAV server in memory (`tests.connectors.carddav_servers`), driven like the vendors' simulators."""

from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from tests.connectors import carddav_servers
from tests.connectors.carddav_servers import BOOK, PASSWORD
from tests.connectors.simulators.kit import Traffic, name_of

USERNAME = "ann"


@dataclass(slots=True, kw_only=True)
class CardDavAccount:
    """A login with one address book."""

    server: carddav_servers.Simulator = field(default_factory=carddav_servers.Simulator)
    added: int = 0
    revoked: bool = False
    service: str = "carddav"
    origins: Sequence[str] = ("https://dav.example.com",)
    credentials: Mapping[str, Any] = field(
        default_factory=lambda: {"url": "https://dav.example.com", "username": USERNAME, "password": PASSWORD}
    )
    criteria: Mapping[str, Any] = field(default_factory=dict)
    secrets: Sequence[str] = (PASSWORD,)
    traffic: Traffic = field(init=False)

    def __post_init__(self) -> None:
        self.traffic = Traffic(self._answer)

    @property
    def page_size(self) -> int:
        """How many changes the server reports at a time."""
        return self.server.truncates_at

    @page_size.setter
    def page_size(self, size: int) -> None:
        self.server.truncates_at = size

    def add(self, email: str | None) -> str:
        self.added += 1
        self._put(f"card-{self.added:05}", email)
        return f"{BOOK}card-{self.added:05}.vcf"

    def change(self, external_id: str) -> None:
        self._put(external_id.removeprefix(BOOK).removesuffix(".vcf"), self.matching()[external_id])

    def remove(self, external_id: str) -> None:
        self.server.delete(external_id.removeprefix(BOOK).removesuffix(".vcf"))

    def matching(self) -> dict[str, str | None]:
        return {
            path: next((line[6:] for line in card.splitlines() if line.startswith("EMAIL:")), None)
            for path, card in self.server.cards.items()
        }

    def expire_checkpoints(self) -> None:
        self.server.forgotten = len(self.server.history) + 1
        self.server.history += [f"{BOOK}nothing.vcf", *self.server.cards]

    def revoke(self) -> None:
        self.revoked = True

    def _put(self, name: str, email: str | None) -> None:
        first_name, last_name = name_of(email)
        lines = [f"N:{last_name};{first_name};;;", f"FN:{first_name} {last_name}", f"NOTE:{len(self.server.history)}"]
        lines += [f"EMAIL:{email}"] if email is not None else []
        self.server.put(name, "\r\n".join(["BEGIN:VCARD", "VERSION:3.0", f"UID:{name}", *lines, "END:VCARD", ""]))

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        asked = Request(scope, receive)
        login = b64encode(f"{USERNAME}:{PASSWORD}".encode()).decode()
        if self.revoked or asked.headers.get("Authorization") != f"Basic {login}":
            await Response("Who are you?", 401)(scope, receive, send)
            return
        request = httpx.Request(
            asked.method, f"{self.origins[0]}{asked.url.path}", headers=asked.headers.raw, content=await asked.body()
        )
        answer = self.server(request)
        await Response(answer.content, answer.status_code, dict(answer.headers))(scope, receive, send)


def make(people: int) -> CardDavAccount:
    """An address book with so many people."""
    simulator = CardDavAccount()
    for number in range(people):
        simulator.add(f"person-{number}@example.com")
    return simulator
