"""The rows of a CSV file as contacts: common headers are recognised, every other column is a custom field."""

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from connectors.csv_table import Table
from connectors.names import first_and_last
from domain.records import Record

ROLES = {
    "email": {"email", "emailaddress", "mail", "emailadresse", "correo", "correoelectrónico", "courriel"},
    "first_name": {"firstname", "givenname", "forename", "vorname", "prénom", "nombre"},
    "last_name": {"lastname", "surname", "familyname", "nachname", "nomdefamille", "apellido", "apellidos"},
    "name": {"name", "fullname", "displayname"},
    "phone": {"phone", "phonenumber", "telephone", "mobile", "mobilephone", "telefon", "téléphone", "teléfono"},
}
"""Headers that name more than a custom field, without case, spaces and punctuation."""

LONGEST_KEY = 200


def has_addresses(header: Sequence[str]) -> bool:
    """Whether there is a column of addresses."""
    return "email" in _roles(header)


def records_of(table: Table, key_column: str | None) -> Iterator[Record]:
    """One record a row, in order. A cell that a short row does not have was not read."""
    roles = _roles(table.header)
    seen = Counter[str]()
    for cells in table.rows():
        row = dict(zip(table.header, cells, strict=False))
        external_id = _external_id(row, row.get(key_column or ""), row.get(roles["email"]))
        seen[external_id] += 1
        if seen[external_id] > 1:
            # A record of its own, so that it can be told as a duplicate.
            external_id = f"{external_id}#{seen[external_id]}"
        yield _record(row, roles, external_id)


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
    """The key as it stands; else a digest of the address, else of the row: ids outlive the erasure of a contact."""
    if key and len(key) <= LONGEST_KEY:
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
