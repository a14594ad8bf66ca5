"""The CSV format, second half: rows as contacts.

Common headers are recognised, every other column is a custom field. Wherever a CSV file comes from, it is read here;
`csv_table` is the first half.
"""

import asyncio
import hashlib
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

from connectors.base import MAX_PAGE_RECORDS, UnexpectedResponseError
from connectors.csv_table import Table, read_table
from connectors.names import first_and_last
from domain.records import FieldSpec, FieldType, Record

ROLES = {
    "email": {"email", "emailaddress", "mail", "emailadresse", "correo", "correoelectrónico", "courriel"},
    "first_name": {"firstname", "givenname", "forename", "vorname", "prénom", "nombre"},
    "last_name": {"lastname", "surname", "familyname", "nachname", "nomdefamille", "apellido", "apellidos"},
    "name": {"name", "fullname", "displayname"},
    "phone": {"phone", "phonenumber", "telephone", "mobile", "mobilephone", "telefon", "téléphone", "teléfono"},
}
"""Headers that name more than a custom field, without case, spaces and punctuation."""

LONGEST_KEY = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Contacts:
    """The contacts of a file. `roles`: the column of each role that has one; there is always one for "email"."""

    table: Table
    roles: Mapping[str, str]
    key: str | None

    @property
    def keys(self) -> Sequence[str]:
        """The columns that can tell people apart: an address is none, for ids outlive the erasure of a contact."""
        return [column for column in self.table.header if column != self.roles["email"]]

    @property
    def fields(self) -> Mapping[str, FieldSpec]:
        """What describes each column."""
        return {
            name: FieldSpec(key=name, title=name, type=FieldType.TEXT, open_ended=True) for name in self.table.header
        }

    async def batches(self, start: int) -> AsyncIterator[list[Record]]:
        """The records from row `start` on, as many as a page holds, made in a thread: a large file takes seconds."""
        records = self.records(start)
        while batch := await asyncio.to_thread(list, islice(records, MAX_PAGE_RECORDS)):
            yield batch

    def records(self, start: int = 0) -> Iterator[Record]:
        """One record a row, in order, from row `start` on. A cell that a short row does not have was not read."""
        seen = Counter[str]()
        for number, cells in enumerate(self.table.rows()):
            row = dict(zip(self.table.header, cells, strict=False))
            external_id = _external_id(row, row.get(self.key or ""), row.get(self.roles["email"]))
            seen[external_id] += 1
            if number < start:
                continue
            if seen[external_id] > 1:
                # A record of its own, so that it can be told as a duplicate.
                external_id = f"{external_id}#{seen[external_id]}"
            yield _record(row, self.roles, external_id)


async def read_contacts(body: bytes, *, declared: str | None, key: str | None = None) -> Contacts:
    """Read a file whole before any of it is stored. `declared` is its encoding, where somebody said so.

    The column `key` tells people apart; without one, or if it is the column of addresses, their address does.
    Raises UnexpectedResponseError for what is no CSV file, and where a column is missing.
    """
    return await asyncio.to_thread(_read, body, declared, key)


def _read(body: bytes, declared: str | None, key: str | None) -> Contacts:
    table = read_table(body, declared=declared, expected=lambda header: "email" in _roles(header))
    roles = _roles(table.header)
    if "email" not in roles:
        raise UnexpectedResponseError("No column of the file is called Email: rename the one that has the addresses.")
    if key not in {None, *table.header}:
        raise UnexpectedResponseError(f"The file has no column {key!r}: choose another key.")
    return Contacts(table=table, roles=roles, key=None if key == roles["email"] else key)


def _record(row: Mapping[str, str], roles: Mapping[str, str], external_id: str) -> Record:
    known = {role: row.get(column) or None for role, column in roles.items()}
    first_name, last_name = known.get("first_name"), known.get("last_name")
    if not (first_name or last_name) and (name := known.get("name")):
        first_name, last_name = first_and_last(name)
    return Record(
        external_id=external_id,
        email=known["email"],
        first_name=first_name,
        last_name=last_name,
        phone=known.get("phone"),
        values={name: cell or None for name, cell in row.items() if name not in roles.values()},
    )


def _external_id(row: Mapping[str, str], key: str | None, email: str | None) -> str:
    """The key as it stands, unless it may be an address; else a digest of the key, of the address, or of the row."""
    if key and len(key) <= LONGEST_KEY and "@" not in key:
        return key
    text = key or (email or "").lower() or repr(sorted(row.items()))
    return hashlib.sha256(text.encode()).hexdigest()


def _roles(header: Sequence[str]) -> Mapping[str, str]:
    """The column of each role: the first whose header means it."""
    words = {column: "".join(filter(str.isalnum, column.casefold())) for column in header}
    return {
        role: column
        for role, meanings in ROLES.items()
        if (column := next((each for each in header if words[each] in meanings), None)) is not None
    }
