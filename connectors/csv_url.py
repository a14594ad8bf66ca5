"""Contacts of a CSV file behind an address, which a shop, a spreadsheet or a script keeps up to date.

* Change source: the file's entity tag or date (RFC 9110, section 13), else its content. A changed file is read whole.
* Checkpoint: the file's digest and how many of its rows are stored; another file meanwhile is begun anew.
* Deletions: absence from two sweeps, so each version is read twice.
"""

import asyncio
import hashlib
from base64 import b64encode
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Annotated, Literal, Self

import httpx
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, ValidationError

from connectors import http
from connectors.base import (
    MAX_PAGE_RECORDS,
    Checkpoint,
    CheckpointExpiredError,
    Choice,
    Page,
    RemoteAccount,
    Service,
    ServiceCategory,
    UnexpectedResponseError,
)
from connectors.csv_records import has_addresses, records_of
from connectors.csv_table import Table, read_table
from domain.records import FieldSpec, FieldType

MAX_REDIRECTS = 5
READINGS = 2
NO_CONDITIONS: Mapping[str, str] = {}


class Credentials(BaseModel):
    """Where the file is, and what opens it."""

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True, extra="forbid")

    url: Annotated[str, AfterValidator(lambda text: str(http.web_address(text)))] = Field(
        title="Address of the file",
        description="A link that downloads the file itself. Its first row names the columns, one of them Email.",
        max_length=2000,
        examples=["https://shop.example.com/export/customers.csv"],
        repr=False,  # links to files are often secrets
    )
    username: str | None = Field(None, title="User name", description="If the server asks for one.")
    password: SecretStr = Field(SecretStr(""), title="Password", description="Of this user name.")
    token: SecretStr | None = Field(None, title="Token", description="A bearer token, instead of a user name.")

    def sign(self, request: httpx.Request) -> httpx.Request:
        """Show what opens the file."""
        if self.token is not None:
            request.headers["Authorization"] = f"Bearer {self.token.get_secret_value()}"
        elif self.username is not None:
            login = f"{self.username}:{self.password.get_secret_value()}"
            request.headers["Authorization"] = f"Basic {b64encode(login.encode()).decode()}"
        return request


class Criteria(BaseModel):
    """How the rows are told apart."""

    model_config = ConfigDict(extra="forbid")

    key_column: str | None = Field(
        None,
        max_length=500,
        title="Key column",
        description="A column that stays with a person even if the address changes, such as a customer number. "
        "If left empty, the address tells people apart.",
    )


class State(BaseModel):
    """The checkpoint: `row` rows of the `file` with this digest are stored, and it was read whole so many times."""

    model_config = ConfigDict(extra="forbid")

    version: Literal[1]
    file: str = ""
    row: int = 0
    readings: int = 0
    etag: str | None = None
    modified: str | None = None

    @classmethod
    def of(cls, checkpoint: Checkpoint | None) -> Self:
        """Read a checkpoint; what another version of this connector left has expired."""
        try:
            return cls.model_validate({"version": 1} if checkpoint is None else checkpoint)
        except ValidationError:
            raise CheckpointExpiredError("the checkpoint is from another version") from None

    def conditions(self) -> dict[str, str]:
        """The headers that ask for another version only."""
        known = {"If-None-Match": self.etag, "If-Modified-Since": self.modified}
        return {name: value for name, value in known.items() if value and self.readings >= READINGS}


@dataclass(frozen=True, slots=True, kw_only=True)
class CsvUrl:
    """Reads one file."""

    client: httpx.AsyncClient
    credentials: Credentials
    criteria: Criteria

    async def pages(self, checkpoint: Checkpoint | None) -> AsyncGenerator[Page, None]:
        """Yield the rows of a file that changed, at most 500 a page."""
        state = State.of(checkpoint)
        response = await _download(self.client, self.credentials, state.conditions())
        if response.status_code == 304:
            return
        digest = hashlib.sha256(response.content).hexdigest()
        if digest != state.file:
            state = State(version=1, file=digest)
        state.etag, state.modified = response.headers.get("ETag"), response.headers.get("Last-Modified")
        if state.readings >= READINGS:
            # The same under a new date: not to be asked for again.
            yield Page(records=[], checkpoint=state.model_dump())
            return
        table = _table(response, self.criteria)
        # Before anything is stored the file is seen to be whole.
        total = await asyncio.to_thread(lambda: sum(1 for _ in table.rows()))
        records = islice(records_of(table, self.criteria.key_column), state.row, None)
        fields = {name: FieldSpec(key=name, title=name, type=FieldType.TEXT, open_ended=True) for name in table.header}
        while batch := list(islice(records, MAX_PAGE_RECORDS)):
            state.row += len(batch)
            yield Page(
                records=batch,
                fields=fields,
                checkpoint=state.model_dump(),
                sweep=True,
                remaining=total - state.row,
            )
        state.row, state.readings = 0, state.readings + 1
        yield Page(records=[], checkpoint=state.model_dump(), sweep=True, complete=True, remaining=0)


async def _download(
    client: httpx.AsyncClient, credentials: Credentials, conditions: Mapping[str, str] = NO_CONDITIONS
) -> httpx.Response:
    """The file, or 304. Each redirect passes the client's guard; what opens the file goes to its own server only."""
    url = start = httpx.URL(credentials.url)
    for _ in range(MAX_REDIRECTS + 1):
        is_known = (url.scheme, url.host, url.port) == (start.scheme, start.host, start.port)
        response = await http.send(
            client, "GET", url, headers=conditions, auth=credentials.sign if is_known else httpx.Auth()
        )
        if response.status_code == 304 and conditions:
            return response
        if not response.has_redirect_location:
            return http.check(response)
        url = url.join(response.headers["Location"]).copy_with(userinfo=b"", fragment=None)
        if start.scheme == "https" and url.scheme != "https":
            raise UnexpectedResponseError("The server of the file redirects to an address without encryption.")
    raise UnexpectedResponseError("The server of the file redirects again and again.")


def _table(response: httpx.Response, criteria: Criteria) -> Table:
    table = read_table(response.content, declared=response.charset_encoding, expected=has_addresses)
    if not has_addresses(table.header):
        raise UnexpectedResponseError("No column of the file is called Email: rename the one that has the addresses.")
    if criteria.key_column not in {None, *table.header}:
        raise UnexpectedResponseError(f"The file has no column {criteria.key_column!r} any more: choose another key.")
    return table


def connect(client: httpx.AsyncClient, credentials: Credentials, criteria: Criteria) -> CsvUrl:
    """Make the connector for one automatic import."""
    return CsvUrl(client=client, credentials=credentials, criteria=criteria)


async def identify(client: httpx.AsyncClient, credentials: Credentials) -> RemoteAccount:
    """Read the file once. The identity is a digest of its address, which may be secret; the label its host."""
    _table(await _download(client, credentials), Criteria())
    identity = hashlib.sha256(credentials.url.encode()).hexdigest()
    return RemoteAccount(identity=identity, label=f"CSV file at {httpx.URL(credentials.url).host}")


async def choices(client: httpx.AsyncClient, credentials: Credentials, criterion: str) -> Sequence[Choice]:
    """Offer the file's columns as keys."""
    if criterion != "key_column":
        return []
    table = _table(await _download(client, credentials), Criteria())
    return [Choice(value=name, label=name) for name in table.header]


SERVICE = Service(
    key="csv_url",
    name="CSV file",
    category=ServiceCategory.FILE,
    documentation_url="https://www.rfc-editor.org/rfc/rfc4180",
    credentials=Credentials,
    form=Credentials,
    criteria=Criteria,
    fields=(),  # the file's own columns
    connect=connect,
    identify=identify,
    choices=choices,
    notice="A file says nothing of consent: everybody in it becomes an active contact, except who unsubscribed here.",
)
