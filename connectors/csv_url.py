"""Contacts of a CSV file behind an address, which a shop, a spreadsheet or a script keeps up to date.

* Change source: the file's entity tag or date (RFC 9110, section 13), else its content. A changed file is read whole.
* Checkpoint: the file's digest and how many of its rows are stored. A new version is read on from there, then whole.
* Deletions: absence from two sweeps, so each version is read twice.
"""

import hashlib
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import httpx
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr

from connectors.base import Checkpoint, Choice, Page, RemoteAccount, Service, ServiceCategory, restore
from connectors.csv_records import read_contacts
from connectors.downloads import conditions_after, download, login
from connectors.http import web_address
from connectors.redirects import Login

READINGS = 2


class Credentials(BaseModel):
    """Where the file is, and what opens it."""

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True, extra="forbid")

    url: Annotated[str, AfterValidator(lambda text: str(web_address(text)))] = Field(
        title="Address of the file",
        description="A link that downloads the file itself. Its first row names the columns, one of them Email. "
        "Another link is another file: where one was renewed, connect it anew.",
        max_length=2000,
        examples=["https://shop.example.com/export/customers.csv"],
        repr=False,  # links to files are often secrets
    )
    username: str | None = Field(None, title="User name", description="If the server asks for one.", max_length=500)
    password: SecretStr = Field(SecretStr(""), title="Password", description="Of this user name.", max_length=500)
    token: SecretStr | None = Field(
        None, title="Token", description="A bearer token, instead of a user name.", max_length=4000
    )

    @property
    def login(self) -> Login:
        """What opens the file."""
        return login(self.username, self.password, self.token)


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
    """The checkpoint: `row` rows of the `file` with this digest are stored.

    `readings`: how many sweeps it had to itself. -1: the one under way holds rows of an earlier version, whose people
    may be absent now. -2: and this version is being read on from a later row, so that even one that changes before each
    page comes to its end.
    """

    model_config = ConfigDict(extra="forbid")

    version: Literal[1]
    file: str = ""
    row: int = 0
    readings: int = 0
    conditions: dict[str, str] = {}


@dataclass(frozen=True, slots=True)
class CsvUrl:
    """Reads one file."""

    client: httpx.AsyncClient
    credentials: Credentials
    criteria: Criteria

    async def pages(self, checkpoint: Checkpoint | None) -> AsyncGenerator[Page, None]:
        """Yield the rows of a file that changed, at most 500 a page."""
        state = State(version=1) if checkpoint is None else restore(State, checkpoint)
        conditions = state.conditions if state.readings >= READINGS else {}
        file = await download(self.client, self.credentials.url, auth=self.credentials.login, conditions=conditions)
        if file.status_code == 304:
            return
        digest = hashlib.sha256(file.content).hexdigest()
        if digest != state.file:
            state.file, state.readings = digest, -2 if state.row else 0
        state.conditions = conditions_after(file)
        if state.readings >= READINGS:
            # The same under a new date: not to be asked for again.
            yield Page(records=[], checkpoint=state.model_dump())
            return
        contacts = await read_contacts(file.content, declared=file.charset_encoding, key=self.criteria.key_column)
        size = contacts.table.size
        whole = False
        while not whole:
            whole = state.readings > -2
            async for records in contacts.batches(state.row):
                state.row += len(records)
                left = size - state.row + (0 if whole else size)
                yield Page(
                    records=records, fields=contacts.fields, checkpoint=state.model_dump(), sweep=True, remaining=left
                )
            state.row, state.readings = 0, state.readings + 1
        yield Page(records=[], checkpoint=state.model_dump(), sweep=True, complete=True, remaining=0)


async def identify(client: httpx.AsyncClient, credentials: Credentials) -> RemoteAccount:
    """Read the file once. The identity is a digest of its address, which may be secret, and of who opens it."""
    file = await download(client, credentials.url, auth=credentials.login)
    await read_contacts(file.content, declared=file.charset_encoding)
    identity = hashlib.sha256(f"{credentials.username or ''}\n{credentials.url}".encode()).hexdigest()
    place = " at ".join(filter(None, (credentials.username, httpx.URL(credentials.url).host)))
    return RemoteAccount(identity=identity, label=f"CSV file {identity[:6]}, {place}")


async def choices(client: httpx.AsyncClient, credentials: Credentials, _: str) -> Sequence[Choice]:
    """Offer the file's columns as keys."""
    file = await download(client, credentials.url, auth=credentials.login)
    contacts = await read_contacts(file.content, declared=file.charset_encoding)
    return [Choice(value=name, label=name) for name in contacts.keys]


SERVICE = Service(
    key="csv_url",
    name="CSV file",
    category=ServiceCategory.FILE,
    documentation_url="https://www.rfc-editor.org/rfc/rfc4180",
    credentials=Credentials,
    form=Credentials,
    criteria=Criteria,
    fields=(),  # the file's own columns
    connect=CsvUrl,
    identify=identify,
    choices=choices,
    notice="A file says nothing of consent: everybody in it becomes an active contact, except who unsubscribed here.",
)
