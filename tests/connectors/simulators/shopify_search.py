"""Shopify's search syntax, as far as customers are searched by it: what it does not understand, it ignores and warns.

https://shopify.dev/docs/api/usage/search-syntax
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

Row = Mapping[str, Any]
Test = Callable[[Row], bool]

TOKEN = re.compile(
    r"""\s*(?:(?P<punctuation>[()])|(?P<minus>-(?=\w))|(?P<field>[^\s():"'<>=]+):\s*(?P<comparison>[<>]=?)?|"""
    r"""(?P<quoted>"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*')|(?P<word>[^\s()]+))"""
)
NUMBERS = {"id", "orders_count", "total_spent"}
TIMES = {"updated_at", "customer_date"}
TEXTS = {"email", "first_name", "last_name", "country", "phone", "state", "accepts_marketing"}


@dataclass(slots=True)
class Search:
    """A search that was read: `test` looks at a row of the index; `warnings` tell what was ignored."""

    text: str
    warnings: list[dict[str, str]] = field(default_factory=list)
    tokens: list[re.Match[str]] = field(default_factory=list)
    place: int = 0

    def read(self) -> Test:
        """Read the whole text."""
        self.tokens = list(TOKEN.finditer(self.text))
        tests = [self._either()]
        while self.place < len(self.tokens):
            self.place += 1  # a parenthesis too many is ignored
            if self.place < len(self.tokens):
                tests.append(self._either())
        return lambda row: all(test(row) for test in tests)

    def _peek(self) -> str:
        return self.tokens[self.place][0].strip() if self.place < len(self.tokens) else ""

    def _either(self) -> Test:
        tests = [self._both()]
        while self._peek() == "OR":
            self.place += 1
            tests.append(self._both())
        return lambda row: any(test(row) for test in tests)

    def _both(self) -> Test:
        tests = [self._single()]
        while self._peek() not in {"", "OR", ")"}:
            if self._peek() == "AND":
                self.place += 1
            tests.append(self._single())
        return lambda row: all(test(row) for test in tests)

    def _single(self) -> Test:
        if self._peek() in {"", ")"}:
            return lambda row: True
        token = self.tokens[self.place]
        self.place += 1
        if token[0].strip() == "NOT" or token["minus"]:
            inner = self._single()
            return lambda row: not inner(row)
        if token["punctuation"] == "(":
            inner = self._either()
            self.place += self._peek() == ")"
            return inner
        if token["field"]:
            value = self._value()
            test = _compare(token["field"].lower(), token["comparison"] or "=", value)
            if test is None:
                self.warnings.append(
                    {
                        "field": token["field"],
                        "message": "Invalid search field for this query.",
                        "code": "invalid_field",
                    }
                )
                return lambda row: True
            return test
        word = _bare(token[0].strip()).casefold()
        return lambda row: any(word in str(value).casefold() for value in row.values())

    def _value(self) -> str:
        if self._peek() in {"", "(", ")"}:
            return ""
        token = self.tokens[self.place]
        self.place += 1
        return _bare(token[0].strip()) if not token["field"] else token["field"]


def search(text: str | None, rows: Sequence[Row]) -> tuple[list[Row], list[dict[str, str]]]:
    """The rows that match, and the warnings."""
    if not text:
        return [*rows], []
    read = Search(text)
    test = read.read()
    return [row for row in rows if test(row)], read.warnings


def _bare(text: str) -> str:
    if text[:1] in {"'", '"'}:
        text = text[1:-1]
    return re.sub(r"\\(.)", r"\1", text)


def _compare(name: str, comparison: str, value: str) -> Test | None:
    if name in {"tag", "tag_not"}:
        wanted = {part.strip().casefold() for part in value.split(",")}
        return lambda row: bool(wanted & {tag.casefold() for tag in row["tag"]}) == (name == "tag")
    if name in TEXTS:
        return lambda row: bool(row[name]) if value == "*" else value.casefold() in str(row[name]).casefold()
    if name in NUMBERS and re.fullmatch(r"\d+(\.\d+)?", value):
        return lambda row: _holds(comparison, float(row[name]), float(value))
    if name in TIMES:
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            return None
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        # Both mean "from then on".
        by = {">": ">=", "<": "<="}.get(comparison, comparison)
        if by == "=":
            return lambda row: bool(row[name].date() == moment.date())
        return lambda row: _holds(by, row[name], moment)
    return None


def _holds(comparison: str, left: Any, right: Any) -> bool:
    match comparison:
        case "<":
            return bool(left < right)
        case "<=":
            return bool(left <= right)
        case ">":
            return bool(left > right)
        case ">=":
            return bool(left >= right)
        case _:
            return bool(left == right)
