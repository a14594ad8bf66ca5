"""A vCard as a record: versions 2.1, 3.0 (RFC 2426) and 4.0 (RFC 6350).

A line that cannot be read costs that line alone; a text that is no vCard at all becomes a record without
values, so that it shows up as skipped instead of failing everybody else's import.

Not built on vobject or its fork vobjectx, which were tried: one bad line or photo loses the card, texts end at their
first unescaped comma, and in vobject a line of 60 characters can hang the process (its pattern for parameters takes
exponential time).
"""

import quopri
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from domain.records import FieldSpec, FieldType, FieldValue, Record

FIELDS = (
    FieldSpec(key="ORG", title="Organization", type=FieldType.TEXT),
    FieldSpec(key="TITLE", title="Job title", type=FieldType.TEXT),
    FieldSpec(key="NICKNAME", title="Nickname", type=FieldType.TEXT),
    FieldSpec(key="BDAY", title="Birthday", type=FieldType.DATE),
    FieldSpec(key="NOTE", title="Note", type=FieldType.TEXTAREA),
    FieldSpec(key="URL", title="Website", type=FieldType.URL),
    FieldSpec(key="CATEGORIES", title="Categories", type=FieldType.MULTISELECT),
    FieldSpec(key="ADR.STREET", title="Street", type=FieldType.TEXT),
    FieldSpec(key="ADR.LOCALITY", title="City", type=FieldType.TEXT),
    FieldSpec(key="ADR.REGION", title="Region", type=FieldType.TEXT),
    FieldSpec(key="ADR.CODE", title="Postal code", type=FieldType.TEXT),
    FieldSpec(key="ADR.COUNTRY", title="Country", type=FieldType.TEXT),
)
"""Every vCard brings these; a missing property is an empty value."""

FIELDS_BY_KEY = {field.key: field for field in FIELDS}
ADDRESS_PARTS = {"ADR.STREET": 2, "ADR.LOCALITY": 3, "ADR.REGION": 4, "ADR.CODE": 5, "ADR.COUNTRY": 6}

# What address book programs keep for themselves.
VENDOR_PREFIXES = (
    "X-AB",
    "X-ADDRESSBOOKSERVER-",
    "X-APPLE-",
    "X-EVOLUTION-",
    "X-KADDRESSBOOK-",
    "X-MOZILLA-",
    "X-RADICALE-",
)

LINE_END = re.compile(r"\r\n|\n|\r")
FOLD = re.compile(r"(?:\r\n|\n|\r)[ \t]")
# Possessive, because a value that never comes must not be searched for twice.
PARAMETER = r""";(?:[^":;]|"[^"]*+")*+"""
CONTENT_LINE = re.compile(rf"(?:[\w-]++\.)?([\w-]++)((?:{PARAMETER})*+):(.*)", re.DOTALL)
CONTROL_CHARACTERS = {code: None for code in range(32) if chr(code) not in "\t\n\r"}
LEAST_PREFERRED = 101


@dataclass(frozen=True, slots=True, kw_only=True)
class Property:
    """One content line. `parameters` are in capitals; `value` still has its escapes."""

    parameters: Mapping[str, Sequence[str]]
    value: str

    @property
    def text(self) -> str:
        """The value as a single text."""
        return _unescape(self.value).strip()

    @property
    def types(self) -> Sequence[str]:
        """What TYPE says (HOME, FAX, PREF …)."""
        return self.parameters.get("TYPE", ())

    @property
    def rank(self) -> int:
        """From 1, most preferred, as PREF of 4.0 counts; TYPE=PREF of 3.0 is 1, too."""
        if "PREF" in self.types:
            return 1
        rank = "".join(self.parameters.get("PREF", ())[:1])
        return int(rank) if re.fullmatch(r"[0-9]{1,3}", rank) else LEAST_PREFERRED

    def parts(self, separator: str) -> list[str]:
        """Split a structured value (`;`) or a list (`,`)."""
        parts = re.split(rf"(?<!\\){separator}", _hide_backslashes(self.value))
        return [_unescape(part).strip() for part in parts]


def field_spec(key: str) -> FieldSpec:
    """Describe a key of a record's values: one of FIELDS, or an X- property that somebody invented."""
    title = key.removeprefix("X-").replace("-", " ").replace("_", " ").strip().capitalize()
    return FIELDS_BY_KEY.get(key) or FieldSpec(key=key, title=title or key, type=FieldType.TEXT, open_ended=True)


def to_record(external_id: str, vcard: str) -> Record | None:
    """Return the person that a vCard describes; None for a group, which is nobody."""
    card = _properties(vcard)
    kind = _text(card.get("KIND") or card.get("X-ADDRESSBOOKSERVER-KIND"))
    if kind and kind.lower() == "group":
        return None
    if not card:
        return Record(external_id=external_id, email=None)
    email = _best(card.get("EMAIL"), last=lambda email: "@" not in email.value)
    phone = _best(card.get("TEL"), last=lambda phone: not {"FAX", "PAGER"}.isdisjoint(phone.types))
    first_name, last_name = _names(card)
    return Record(
        external_id=external_id,
        email=re.sub(r"(?i)^mailto:", "", email.text) if email else None,
        first_name=first_name,
        last_name=last_name,
        phone=_phone(phone.text) if phone else None,
        values=_values(card),
    )


def _properties(vcard: str) -> dict[str, list[Property]]:
    """The properties of the first vCard in a text, by name in capitals; groups (`item1.`) are dropped."""
    lines = _logical_lines(vcard.translate(CONTROL_CHARACTERS).removeprefix("\ufeff"))
    properties: dict[str, list[Property]] = defaultdict(list)
    if next(lines, "").strip().upper() != "BEGIN:VCARD":
        return {}
    for line in lines:
        if line.strip().upper() == "END:VCARD":
            break
        if match := CONTENT_LINE.fullmatch(line):
            name, parameters, value = match.groups()
            properties[name.upper()].append(_property(parameters, value))
    return dict(properties)


def _logical_lines(text: str) -> Iterator[str]:
    """Unfold: a line that begins with white space continues the one before (RFC 6350, section 3.2)."""
    lines = iter(LINE_END.split(FOLD.sub("", text)))
    for line in lines:
        parts = [line]
        # 2.1 has soft line breaks of quoted-printable instead, which begin with anything.
        if "QUOTED-PRINTABLE" in line.partition(":")[0].upper():
            while parts[-1].endswith("="):
                parts.append(next(lines, ""))
        if line:
            yield "\n".join(parts)


def _property(parameters: str, value: str) -> Property:
    found: dict[str, list[str]] = defaultdict(list)
    for parameter in re.findall(PARAMETER, parameters):
        name, equals, values = parameter[1:].upper().partition("=")
        # 2.1 may leave the name away: EMAIL;PREF;INTERNET:
        if not equals:
            name, values = "TYPE", name
        found[name].extend(values.replace('"', "").split(","))
    if "QUOTED-PRINTABLE" in (*found["TYPE"], *found["ENCODING"]):
        # A charset nobody knows costs no more than some letters.
        value = quopri.decodestring(value.encode()).decode("utf-8", errors="replace")
    return Property(parameters=dict(found), value=value)


def _values(card: Mapping[str, Sequence[Property]]) -> dict[str, FieldValue]:
    address = _best(card.get("ADR"))
    parts = address.parts(";") if address else []
    categories = dict.fromkeys(name for line in card.get("CATEGORIES", ()) for name in line.parts(",") if name)
    birthday = _best(card.get("BDAY"))
    notes = [note.text for note in card.get("NOTE", ()) if note.text]
    return {
        "ORG": _organization(card),
        "TITLE": _text(card.get("TITLE")),
        "NICKNAME": _text(card.get("NICKNAME")),
        "BDAY": _birthday(birthday) if birthday else None,
        "NOTE": "\n\n".join(notes) or None,
        "URL": _text(card.get("URL")),
        "CATEGORIES": tuple(categories) or None,
        **{key: parts[place] or None if place < len(parts) else None for key, place in ADDRESS_PARTS.items()},
        **{
            name: _text(lines)
            for name, lines in card.items()
            if name.startswith("X-") and not name.startswith(VENDOR_PREFIXES)
        },
    }


def _names(card: Mapping[str, Sequence[Property]]) -> tuple[str | None, str | None]:
    """First and last name: of N where it says any, else of FN, cut at the last space."""
    structured = _best(card.get("N"))
    # A comma separates several given names: Anna,Maria.
    family, given, *_ = [*(structured.parts(";") if structured else []), "", ""]
    if family or given:
        return given.replace(",", " ") or None, family.replace(",", " ") or None
    formatted = _text(card.get("FN"))
    if formatted is None or formatted == _organization(card):
        return None, None
    first, _, last = formatted.rpartition(" ")
    return (first.strip(), last) if first else (last, None)


def _organization(card: Mapping[str, Sequence[Property]]) -> str | None:
    """The name alone: the components after it are units (RFC 6350, section 6.6.4)."""
    organization = _best(card.get("ORG"))
    return organization.parts(";")[0] or None if organization else None


def _birthday(birthday: Property) -> date | str:
    """A date, or the text as it stands where it is none, such as `--0412`, a birthday without its year."""
    text = birthday.text
    omitted_year = birthday.parameters.get("X-APPLE-OMIT-YEAR", ())
    if text[:4] in omitted_year:
        return "--" + text[4:].replace("-", "")
    try:
        return date.fromisoformat(text.partition("T")[0])
    except ValueError:
        return text


def _phone(text: str) -> str:
    """A number as people write it; `tel:` URIs carry the extension as a parameter (RFC 3966)."""
    if not text.lower().startswith("tel:"):
        return text
    number, _, parameters = text[4:].partition(";")
    extension = re.search(r"(?i)(?:^|;)ext=([^;]+)", parameters)
    return f"{number} ext. {extension[1]}" if extension else number


def _text(lines: Sequence[Property] | None) -> str | None:
    best = _best(lines)
    return best.text if best else None


def _best(lines: Sequence[Property] | None, *, last: Callable[[Property], bool] = lambda _: False) -> Property | None:
    """The most preferred line that is not empty; those that `last` names only where there is no other."""
    return min((line for line in lines or () if line.text), key=lambda line: (last(line), line.rank), default=None)


def _hide_backslashes(value: str) -> str:
    # NUL cannot occur any more, so it can stand for an escaped backslash while the other escapes are read.
    return value.replace(r"\\", "\0")


def _unescape(value: str) -> str:
    text = re.sub(r"\\([nN,;:])", lambda found: "\n" if found[1] in "nN" else found[1], _hide_backslashes(value))
    return text.replace("\0", "\\")
