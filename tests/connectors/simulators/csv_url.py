"""A web server with one CSV file, as exports of shops and spreadsheets come: in many ways that are not quite right."""

import csv
import hashlib
import io
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tests.connectors.simulators.kit import Traffic, name_of

ORIGIN = "https://files.example.com"
USERNAME, PASSWORD = "export", "s3cret-pässword"
COLUMNS = ["Customer ID", "Email", "First name", "Last name", "Phone", "City", "Total spent"]


@dataclass(slots=True, kw_only=True)
class CsvFile:
    """The file, with a row for each person.

    `validators`: the server tells its version by ETag and Last-Modified. `text`: the file as it is, instead of the
    people's rows. `body`: the bytes as they are.  `redirects`: where paths lead to, `/latest` to the file itself.
    """

    people: dict[str, dict[str, str]] = field(default_factory=dict)
    next_number: int = 1000
    columns: Sequence[str] = tuple(COLUMNS)
    delimiter: str = ","
    encoding: str = "utf-8"
    content_type: str = "text/csv; charset=utf-8"
    validators: frozenset[str] = frozenset({"ETag", "Last-Modified"})
    body: bytes | None = None
    revoked: bool = False
    redirects: dict[str, str] = field(default_factory=dict)
    page_size: int = 500
    service: str = "csv_url"
    origins: Sequence[str] = (ORIGIN,)
    credentials: Mapping[str, Any] = field(
        default_factory=lambda: {"url": f"{ORIGIN}/contacts.csv", "username": USERNAME, "password": PASSWORD}
    )
    criteria: Mapping[str, Any] = field(default_factory=lambda: {"key_column": "Customer ID"})
    secrets: Sequence[str] = (PASSWORD,)
    traffic: Traffic = field(init=False)

    def __post_init__(self) -> None:
        self.traffic = Traffic(Starlette(routes=[Route("/{path:path}", self._answer)]))

    def add(self, email: str | None) -> str:
        self.next_number += 1
        first_name, last_name = name_of(email)
        row = {"Email": email or "", "First name": first_name, "Last name": last_name}
        row |= {"Phone": f"+49 30 {1000 + self.next_number}", "City": "Berlin", "Total spent": "0"}
        self.people[str(self.next_number)] = row
        return str(self.next_number)

    def change(self, external_id: str) -> None:
        row = self.people[external_id]
        row["Total spent"] = str(int(row["Total spent"]) + 10)

    def remove(self, external_id: str) -> None:
        del self.people[external_id]

    def matching(self) -> dict[str, str | None]:
        return {number: row["Email"] or None for number, row in self.people.items()}

    def expire_checkpoints(self) -> None:
        """There are none."""

    def revoke(self) -> None:
        self.revoked = True

    def content(self) -> bytes:
        """The file's bytes as they are now."""
        if self.body is not None:
            return self.body
        file = io.StringIO()
        writer = csv.DictWriter(file, self.columns, delimiter=self.delimiter, extrasaction="ignore")
        writer.writeheader()
        writer.writerows({"Customer ID": number, **row} for number, row in self.people.items())
        return file.getvalue().encode(self.encoding)

    def _answer(self, request: Request) -> Response:
        if request.url.path in self.redirects:
            return Response(status_code=302, headers={"Location": self.redirects[request.url.path]})
        if request.method != "GET" or request.url.path != "/contacts.csv":
            return Response("There is no such file.", 404)
        login = b64encode(f"{USERNAME}:{PASSWORD}".encode()).decode()
        if self.revoked or request.headers.get("Authorization") != f"Basic {login}":
            return Response("Who are you?", 401, {"WWW-Authenticate": 'Basic realm="files"'})
        content = self.content()
        told = {"ETag": f'"{hashlib.md5(content).hexdigest()}"', "Last-Modified": "Sat, 21 Nov 2026 08:00:00 GMT"}
        told = {name: value for name, value in told.items() if name in self.validators}
        if told.get("ETag") and request.headers.get("If-None-Match") == told["ETag"]:
            return Response(status_code=304, headers=told)
        return Response(content, headers={"Content-Type": self.content_type, **told})


def make(people: int) -> CsvFile:
    """A file with so many people."""
    simulator = CsvFile()
    for number in range(people):
        simulator.add(f"person-{number}@example.com")
    return simulator
