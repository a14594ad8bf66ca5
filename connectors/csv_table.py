"""The CSV format, first half: a table in whatever encoding, with whatever delimiter, not quite as RFC 4180 wants it.

`csv_records` is the second half.
"""

import csv
import re
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

import charset_normalizer

from connectors.base import UnexpectedResponseError

MAX_COLUMNS = 1000
DELIMITERS = ",;\t|"
# `splitlines` would cut at characters that values may hold.
LINE = re.compile(r"[^\r\n]*(?:\r\n|[\r\n])|[^\r\n]+")
# No text has it any more; a quoted value that is still open swallows it.
END = "\0"

BYTE_ORDER_MARKS = {b"\xef\xbb\xbf": "utf-8-sig", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}
GUESSES = ["cp1252", "cp1251", "shift_jis", "gb18030", "euc_kr", "big5"]
"""With more, a short text of Western Europe would be taken for something else."""
GUESSED_BY = 65_536
"""Bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """So many rows (`size`) under a header; every column has a name of its own."""

    text: str
    delimiter: str
    header: Sequence[str]
    size: int

    def rows(self) -> Iterator[Sequence[str]]:
        """The cells of each row that has any. Rows may be shorter or longer than the header."""
        rows = _rows(self.text, self.delimiter)
        next(rows, None)
        return rows


def read_table(body: bytes, *, declared: str | None, expected: Callable[[Sequence[str]], bool]) -> Table:
    """The table in a file. `declared` is its encoding, where somebody said so.

    Of several delimiters that there may be, the one is right whose header is as `expected`, else has most columns.
    Raises UnexpectedResponseError for what is no CSV file, and for one that is cut off: in a quoted value, or in a last
    row that lacks cells. A cut within the last cell of a row leaves no trace: its server's Content-Length tells it.
    """
    if body.startswith(b"PK"):
        raise UnexpectedResponseError("The file is an Excel workbook or an archive: save it as CSV.")
    text = _decoded(body, declared).replace(END, "")
    if text.lstrip().startswith("<"):
        raise UnexpectedResponseError(
            "The address answers with a page, perhaps for signing in: use a link that downloads the CSV file itself."
        )
    # Excel's own way to tell.
    told = re.match(r"sep=(.)(?:\r\n|[\r\n])", text)
    text = text[told.end() :] if told else text
    headers = {delimiter: next(_rows(text, delimiter), []) for delimiter in (told[1] if told else DELIMITERS)}
    delimiter = max(headers, key=lambda each: (expected(headers[each]), len(headers[each])))
    if not 0 < len(headers[delimiter]) <= MAX_COLUMNS:
        raise UnexpectedResponseError(f"The file must have between 1 and {MAX_COLUMNS} columns.")
    ((size, last),) = deque(enumerate(_rows(text, delimiter)), maxlen=1)
    if len(last) < len(headers[delimiter]) and not text.endswith(("\r", "\n")):
        raise UnexpectedResponseError(
            "The file's last row lacks cells and a line end: it may be cut off. If it is not, end it with a line end."
        )
    return Table(text=text, delimiter=delimiter, header=_named(headers[delimiter]), size=size)


def _decoded(body: bytes, declared: str | None) -> str:
    encodings: list[str | None] = [encoding for mark, encoding in BYTE_ORDER_MARKS.items() if body.startswith(mark)]
    if not encodings and b"\0" in body[:GUESSED_BY]:
        # It would be UTF-8, too, with NULs between the letters.
        encodings = ["utf-16-be" if body.startswith(b"\0") else "utf-16-le"]
    for encoding in encodings or ["utf-8", declared, _guess(body)]:
        try:
            if encoding is not None:
                return body.decode(encoding)
        except (LookupError, UnicodeError):
            continue
    raise UnexpectedResponseError("The file's encoding cannot be told: save it as UTF-8.")


def _guess(body: bytes) -> str | None:
    whole_lines = body[:GUESSED_BY].rpartition(b"\n")[0] if len(body) > GUESSED_BY else body
    match = charset_normalizer.from_bytes(whole_lines, cp_isolation=GUESSES).best()
    return match.encoding if match is not None else None


def _rows(text: str, delimiter: str) -> Iterator[Sequence[str]]:
    lines = chain((line[0] for line in LINE.finditer(text)), [END])
    try:
        for cells in csv.reader(lines, delimiter=delimiter):
            if cells == [END]:
                return
            cleaned = [_cleaned(cell) for cell in cells]
            if any(cleaned):
                yield cleaned
    except csv.Error as error:
        raise UnexpectedResponseError(f"The file cannot be read as CSV: {error}.") from error
    raise UnexpectedResponseError("The file ends inside a quoted value: it may be cut off.")


def _cleaned(cell: str) -> str:
    """Without the formula that tells Excel to take digits for a text: ="00123"."""
    cell = cell.strip()
    return cell[2:-1] if len(cell) > 2 and cell.startswith('="') and cell.endswith('"') else cell


def _named(header: Sequence[str]) -> list[str]:
    names: list[str] = []
    for number, cell in enumerate(header, 1):
        name = stem = cell or f"Column {number}"
        copy = 1
        while name in names:
            copy += 1
            name = f"{stem} {copy}"
        names.append(name)
    return names
