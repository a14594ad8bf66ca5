import time
from datetime import date

import pytest

from connectors.carddav.vcard import FIELDS, field_spec, to_record
from domain.records import FieldSpec, FieldType, FieldValue, Record

EMPTY: dict[str, FieldValue] = dict.fromkeys(field.key for field in FIELDS)


def read(*lines: str, version: str = "3.0") -> Record:
    text = "\r\n".join(["BEGIN:VCARD", f"VERSION:{version}", *lines, "END:VCARD", ""])
    record = to_record("/ann.vcf", text)
    assert record is not None
    return record


def test_a_card_brings_every_declared_field_and_empty_ones_as_none() -> None:
    record = read(
        "N:Doe;Ann;;;",
        "FN:Ann Doe",
        "ORG:Nordwind;Sales",
        "TITLE:Buyer",
        "EMAIL:ann@example.com",
        "TEL:+49 30 1",
        "BDAY:1985-04-12",
        "ADR:;;High Street 1;Berlin;BE;10115;Germany",
    )

    assert record == Record(
        external_id="/ann.vcf",
        email="ann@example.com",
        first_name="Ann",
        last_name="Doe",
        phone="+49 30 1",
        values={
            **EMPTY,
            "ORG": "Nordwind",
            "TITLE": "Buyer",
            "BDAY": date(1985, 4, 12),
            "ADR.STREET": "High Street 1",
            "ADR.LOCALITY": "Berlin",
            "ADR.REGION": "BE",
            "ADR.CODE": "10115",
            "ADR.COUNTRY": "Germany",
        },
    )


@pytest.mark.parametrize(
    ("lines", "email"),
    [
        (["EMAIL:a@x.com", "EMAIL:b@x.com"], "a@x.com"),
        (["EMAIL:a@x.com", "EMAIL;TYPE=INTERNET,PREF:b@x.com"], "b@x.com"),
        (["EMAIL:a@x.com", "EMAIL;type=INTERNET;type=pref:b@x.com"], "b@x.com"),
        (["EMAIL;PREF=2:a@x.com", "EMAIL;PREF=1:b@x.com"], "b@x.com"),
        (["EMAIL;PREF=100:a@x.com", "EMAIL:b@x.com"], "a@x.com"),
        (["EMAIL;PREF=first:a@x.com", "EMAIL:b@x.com"], "a@x.com"),
        (["EMAIL;PREF;INTERNET:b@x.com"], "b@x.com"),
        (["EMAIL:", "EMAIL:  ", "EMAIL: b@x.com "], "b@x.com"),
        (["EMAIL;TYPE=PREF:unknown", "EMAIL:b@x.com"], "b@x.com"),
        (["EMAIL:not an address"], "not an address"),
        (["EMAIL:MailTo:b@x.com"], "b@x.com"),
        (["item1.EMAIL;type=WORK:b@x.com", "item1.X-ABLabel:_$!<Work>!$_"], "b@x.com"),
        (['EMAIL;TYPE="home,pref":b@x.com'], "b@x.com"),
        (['EMAIL;X-NOTE="a;b:c":b@x.com'], "b@x.com"),
        (["email:b@x.com"], "b@x.com"),
        (["TEL:1"], None),
    ],
)
def test_the_preferred_address_wins(lines: list[str], email: str | None) -> None:
    assert read(*lines).email == email


@pytest.mark.parametrize(
    ("lines", "phone"),
    [
        (["TEL;TYPE=FAX:1", "TEL:2"], "2"),
        (["TEL;TYPE=FAX,PREF:1"], "1"),
        (["TEL;VALUE=uri;PREF=1:tel:+1-555-0100"], "+1-555-0100"),
        (["TEL;VALUE=uri:tel:+1-555-0100;phone-context=x;ext=7"], "+1-555-0100 ext. 7"),
        (["FN:Ann"], None),
    ],
)
def test_the_preferred_phone_wins_and_is_written_plainly(lines: list[str], phone: str | None) -> None:
    assert read(*lines).phone == phone


@pytest.mark.parametrize(
    ("lines", "names"),
    [
        (["N:Doe;Ann;;;", "FN:Somebody Else"], ("Ann", "Doe")),
        (["N:Doe;Ann,Maria;;;"], ("Ann Maria", "Doe")),
        (["N:;Ann;;;", "FN:Ann Doe"], ("Ann", None)),
        (["N:;;;;", "FN:Ann Maria Doe"], ("Ann Maria", "Doe")),
        (["FN:Ann"], ("Ann", None)),
        (["N:Doe"], (None, "Doe")),
        (["FN:Nordwind Ltd", "ORG:Nordwind Ltd"], (None, None)),
        (["N:الخطيب;محمد;;;"], ("محمد", "الخطيب")),
        (["N:👩‍🚀;🌻 Iris;;;"], ("🌻 Iris", "👩‍🚀")),
        (["TEL:1"], (None, None)),
    ],
)
def test_names_come_from_the_structured_name_or_else_the_formatted_one(
    lines: list[str], names: tuple[str | None, str | None]
) -> None:
    record = read(*lines)

    assert (record.first_name, record.last_name) == names


@pytest.mark.parametrize(
    ("line", "birthday"),
    [
        ("BDAY:1985-04-12", date(1985, 4, 12)),
        ("BDAY:19850412", date(1985, 4, 12)),
        ("BDAY;VALUE=date-time:1985-04-12T23:20:50Z", date(1985, 4, 12)),
        ("BDAY:--0412", "--0412"),
        ("BDAY:--04-12", "--04-12"),
        ("BDAY;X-APPLE-OMIT-YEAR=1604:1604-04-12", "--0412"),
        ("BDAY:1985-04", "1985-04"),
        ("BDAY:1985", "1985"),
        ("BDAY:1985-02-31", "1985-02-31"),
        ("BDAY:0000-00-00", "0000-00-00"),
        ("BDAY;VALUE=text:circa 1800", "circa 1800"),
        ("BDAY:", None),
    ],
)
def test_a_birthday_that_is_no_date_is_passed_on_as_it_stands(line: str, birthday: date | str | None) -> None:
    assert read(line).values["BDAY"] == birthday


@pytest.mark.parametrize(
    ("lines", "key", "value"),
    [
        ([r"NOTE:one\, two\; three\nfour\Nfive \\n C:\temp"], "NOTE", "one, two; three\nfour\nfive \\n C:\\temp"),
        (["NOTE:a, b; c"], "NOTE", "a, b; c"),
        (["NOTE:a", "NOTE:b"], "NOTE", "a\n\nb"),
        (["NOTE:fol", " ded", "\t here"], "NOTE", "folded here"),
        (["NOTE:a\u2028b\u0085c"], "NOTE", "a\u2028b\u0085c"),
        (["NOTE:a\x00b\x0bc\x1fd"], "NOTE", "abcd"),
        (["NOTE:" + "x" * 1_000_000], "NOTE", "x" * 1_000_000),
        (["NOTE;ENCODING=QUOTED-PRINTABLE;CHARSET=UTF-8:=C3=A4=", "b"], "NOTE", "äb"),
        (["NOTE;CHARSET=klingon;ENCODING=QUOTED-PRINTABLE:=E4"], "NOTE", "�"),
        ([r"ORG:Castillo\, Rossi\; Sons;Sales"], "ORG", "Castillo, Rossi; Sons"),
        ([r"ORG:ends with \\;Sales"], "ORG", "ends with \\"),
        ([r"CATEGORIES:a,b\,c,,a", "CATEGORIES:d"], "CATEGORIES", ("a", "b,c", "d")),
        (["CATEGORIES:"], "CATEGORIES", None),
        ([r"URL:http\://example.com/?a=1,2"], "URL", "http://example.com/?a=1,2"),
        (["NICKNAME:Annie"], "NICKNAME", "Annie"),
        (["ADR;TYPE=HOME:;;Home 1", "ADR;TYPE=WORK,PREF:;;Work 2"], "ADR.STREET", "Work 2"),
        (["ADR:;;Home 1"], "ADR.COUNTRY", None),
        (["X-CUSTOMER-NUMBER:100"], "X-CUSTOMER-NUMBER", "100"),
        (["X-Customer-Number:"], "X-CUSTOMER-NUMBER", None),
    ],
)
def test_values_are_read_as_their_author_meant_them(lines: list[str], key: str, value: FieldValue) -> None:
    assert read(*lines, version="4.0").values[key] == value


@pytest.mark.parametrize(
    "line",
    ["X-ABLabel:Work", "X-ABUID:1", "X-APPLE-SUBLOCALITY:x", "X-EVOLUTION-FILE-AS:x", "PHOTO;ENCODING=b:!!", "UID:1"],
)
def test_what_programs_keep_for_themselves_is_no_field(line: str) -> None:
    assert dict(read(line, "FN:Ann").values) == EMPTY


@pytest.mark.parametrize("line", ["KIND:group", "KIND:GROUP", "X-ADDRESSBOOKSERVER-KIND:group"])
def test_a_group_is_nobody(line: str) -> None:
    assert to_record("/g.vcf", f"BEGIN:VCARD\r\nVERSION:4.0\r\n{line}\r\nFN:Team\r\nEND:VCARD\r\n") is None


@pytest.mark.parametrize("text", ["", "hello", "<html></html>", "BEGIN:VCALENDAR\r\nEND:VCALENDAR\r\n", "\x00"])
def test_a_text_that_is_no_vcard_is_a_record_that_clears_nothing(text: str) -> None:
    assert to_record("/x.vcf", text) == Record(external_id="/x.vcf", email=None, values={})


@pytest.mark.parametrize("line", ["no colon", ":no name", 'TEL;TYPE="open:1', "NOTE;ENCODING=b:!!!", ";;;:"])
def test_a_broken_line_costs_that_line_alone(line: str) -> None:
    assert read(line, "EMAIL:ann@example.com").email == "ann@example.com"


@pytest.mark.parametrize("end", ["\r\n", "\n", "\r"])
def test_every_line_ending_is_understood(end: str) -> None:
    text = end.join(["\ufeffBEGIN:VCARD", "VERSION:3.0", "NOTE:a", " b", "EMAIL:ann@example.com", "END:VCARD"])
    record = to_record("/ann.vcf", text)

    assert record is not None
    assert (record.email, record.values["NOTE"]) == ("ann@example.com", "ab")


@pytest.mark.parametrize(
    "line",
    [
        "EMAIL;X" + "=a" * 200_000 + '"',
        "EMAIL" + ';X="' * 200_000,
        "EMAIL" + ";X=a,b" * 100_000,
        "a" * 1_000_000,
        "NOTE:" + "\\" * 1_000_001,
    ],
)
def test_a_hostile_line_takes_no_more_time_than_its_length(line: str) -> None:
    started = time.process_time()
    read(line)

    assert time.process_time() - started < 1.0


def test_an_invented_property_becomes_an_open_ended_field_with_a_readable_title() -> None:
    assert field_spec("X-CUSTOMER-NUMBER") == FieldSpec(
        key="X-CUSTOMER-NUMBER", title="Customer number", type=FieldType.TEXT, open_ended=True
    )
    assert field_spec("X-").title == "X-"
    assert field_spec("BDAY") == FieldSpec(key="BDAY", title="Birthday", type=FieldType.DATE)
