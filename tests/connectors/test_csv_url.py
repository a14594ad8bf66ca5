"""CSV files as they come: their versions, encodings, delimiters, headers, rows, and what is no CSV file at all."""

import asyncio
import codecs
import csv
import hashlib
import io
import re
import threading
import traceback
from collections.abc import Mapping
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors import csv_records
from connectors.base import AccessRevokedError, ConnectorError, Page, TransientError, UnexpectedResponseError
from connectors.csv_records import read_contacts
from connectors.csv_url import SERVICE, Credentials, Criteria, identify
from connectors.http_client import open_client
from domain.records import FieldSpec, FieldType, Record, SourceConsent
from tests.connectors.reading import Stored, ids
from tests.connectors.simulators.csv_url import COLUMNS, ORIGIN, PASSWORD, USERNAME, CsvFile, make
from tests.connectors.simulators.kit import open_simulated

ELSEWHERE = "https://elsewhere.example.net"


async def read(file: CsvFile, checkpoint: Mapping[str, Any] | None = None, **criteria: str) -> list[Page]:
    connector = SERVICE.connect(
        open_simulated(file),
        Credentials.model_validate(file.credentials),
        Criteria.model_validate({**file.criteria, **criteria}),
    )
    return [page async for page in connector.pages(checkpoint)]


async def read_text(text: str, key_column: str | None = None) -> list[Record]:
    """The records of a file with this text."""
    file = CsvFile(body=text.encode(), criteria={"key_column": key_column})
    return [record for page in await read(file) for record in page.records]


async def refusal(file: CsvFile) -> str:
    with pytest.raises(UnexpectedResponseError) as raised:
        await read(file)
    return str(raised.value)


def sizes(pages: list[Page]) -> list[int]:
    return [len(page.records) for page in pages]


def asked(file: CsvFile) -> dict[str, str]:
    """The conditions of the last request."""
    headers = file.traffic.exchanges[-1].headers
    return {name: value for name, value in headers.items() if name.startswith("if-")}


async def test_a_row_becomes_a_contact_with_a_field_for_every_other_column() -> None:
    (page, _) = await read(make(1))

    assert page.records == [
        Record(
            external_id="1001",
            email="person-0@example.com",
            first_name="Person",
            last_name="0",
            phone="+49 30 2001",
            consent=SourceConsent.NOT_TRACKED,
            values={"Customer ID": "1001", "City": "Berlin", "Total spent": "0"},
        )
    ]
    assert page.fields["Total spent"] == FieldSpec(
        key="Total spent", title="Total spent", type=FieldType.TEXT, open_ended=True
    )


async def test_a_page_holds_500_rows_and_tells_how_many_remain() -> None:
    pages = await read(make(1201))

    assert sizes(pages) == [500, 500, 201, 0]
    assert [page.remaining for page in pages] == [701, 201, 0, 0]
    assert [(page.sweep, page.complete) for page in pages] == [(True, False)] * 3 + [(True, True)]


async def test_a_version_is_read_twice_then_only_asked_after() -> None:
    file = make(2)
    first = await read(file)
    assert asked(file) == {}
    second = await read(file, first[-1].checkpoint)
    assert asked(file) == {}
    assert sizes(second) == sizes(first) == [2, 0]

    assert await read(file, second[-1].checkpoint) == []
    etag = file.traffic.exchanges[-1].answer_headers["etag"]
    assert asked(file) == {"if-none-match": etag, "if-modified-since": "Sat, 21 Nov 2026 08:00:00 GMT"}
    assert file.traffic.exchanges[-1].status == 304


async def test_a_server_without_validators_is_believed_by_the_content() -> None:
    file = make(2)
    file.validators = frozenset()
    checkpoint = (await read(file, (await read(file))[-1].checkpoint))[-1].checkpoint

    (page,) = await read(file, checkpoint)
    assert (page.records, page.sweep, page.checkpoint) == ([], False, checkpoint)
    file.change("1001")
    assert sizes(await read(file, checkpoint)) == [2, 0]


async def test_a_server_that_dates_the_same_file_anew_is_asked_after_the_new_date() -> None:
    file = make(1)
    checkpoint = (await read(file, (await read(file))[-1].checkpoint))[-1].checkpoint
    (page,) = await read(file, {**checkpoint, "conditions": {"If-None-Match": '"another"'}})

    assert page.checkpoint == checkpoint
    assert page.records == []


async def test_a_file_that_changes_in_mid_reading_is_read_on_and_then_whole_in_the_same_sweep() -> None:
    file = make(1201)
    stored = (await read(file))[0]
    file.remove("1001")
    people = [*file.matching()]

    rest = await read(file, stored.checkpoint)

    assert sizes(rest) == [500, 200, 500, 500, 200, 0]
    assert ids(rest) == people[500:] + people
    assert [page.remaining for page in rest] == [1400, 1200, 700, 200, 0, 0]
    assert [(page.sweep, page.complete) for page in rest] == [(True, False)] * 5 + [(True, True)]


async def test_a_file_that_changes_before_each_page_is_read_to_its_end() -> None:
    file, stored = make(1200), Stored()
    for _ in range(3):
        for someone in file.people:
            file.change(someone)
        await stored.cycle(file, limit=1)

    assert stored.records.keys() == file.people.keys()


async def test_who_vanishes_is_missed_by_both_readings_of_a_version() -> None:
    file, stored = make(3), Stored()
    await stored.cycle(file)
    await stored.cycle(file)
    file.remove("1002")

    await stored.cycle(file)
    assert sorted(stored.records) == ["1001", "1002", "1003"]
    await stored.cycle(file)
    assert sorted(stored.records) == ["1001", "1003"]
    assert await stored.cycle(file) == []


async def test_who_was_read_and_vanished_in_the_same_sweep_is_missed_by_two_more() -> None:
    file, stored = make(1201), Stored()
    for _ in range(3):
        await stored.cycle(file)
    file.change("1001")
    await stored.cycle(file, limit=1)
    file.remove("1001")
    await stored.cycle(file, limit=1)
    # Still the same sweep, with rows of three versions.
    file.change("1002")

    cycles = [sizes(await stored.cycle(file)) for _ in range(4)]

    assert cycles == [[200, 500, 500, 200, 0], [500, 500, 200, 0], [500, 500, 200, 0], []]
    assert stored.records.keys() == file.people.keys()


async def test_rows_are_made_in_a_thread_and_those_that_are_stored_not_again(monkeypatch: pytest.MonkeyPatch) -> None:
    file = make(1201)
    stored = (await read(file))[1].checkpoint
    made, make_record = [], csv_records._record

    def note(*row: Any) -> Record:
        made.append(threading.current_thread())
        return make_record(*row)

    monkeypatch.setattr(csv_records, "_record", note)
    assert sizes(await read(file, stored)) == [201, 0]

    assert len(made) == 201
    assert threading.main_thread() not in made


async def test_a_file_that_stayed_the_same_is_read_on_where_it_was_left() -> None:
    file = make(1201)
    pages = await read(file)

    assert await read(file, pages[1].checkpoint) == pages[2:]


ROWS = "Email,Name,Ort\nann@example.com,Åsa Öberg,Malmö\n"


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        pytest.param(ROWS.encode(), "text/csv", id="UTF-8"),
        pytest.param(codecs.BOM_UTF8 + ROWS.encode(), "text/csv", id="UTF-8 with mark"),
        pytest.param(ROWS.encode("utf-16"), "text/csv", id="UTF-16 with mark"),
        pytest.param(codecs.BOM_UTF16_BE + ROWS.encode("utf-16-be"), "text/csv", id="UTF-16 big end"),
        pytest.param(ROWS.encode("utf-16-le"), "text/csv", id="UTF-16 without mark"),
        pytest.param(ROWS.encode("utf-16-be"), "text/csv", id="UTF-16 big end without mark"),
        pytest.param(ROWS.encode("cp1252"), "text/csv", id="cp1252"),
        pytest.param(ROWS.encode("cp1252"), "text/csv; charset=utf-8", id="cp1252 declared as UTF-8"),
        pytest.param(ROWS.encode("cp1252"), "text/csv; charset=nonsense", id="an encoding that does not exist"),
        pytest.param(ROWS.encode("cp850"), "text/csv; charset=cp850", id="declared"),
    ],
)
async def test_the_encoding_is_recognised(body: bytes, content_type: str) -> None:
    (page, _) = await read(CsvFile(body=body, content_type=content_type, criteria={}))

    (record,) = page.records
    assert (record.email, record.first_name, record.last_name) == ("ann@example.com", "Åsa", "Öberg")
    assert record.values == {"Ort": "Malmö"}


@pytest.mark.parametrize(
    ("encoding", "name"), [("cp1251", "Алиса Иванова"), ("shift_jis", "美咲 田中"), ("gb18030", "王小明 北京公司")]
)
async def test_an_encoding_far_away_is_guessed(encoding: str, name: str) -> None:
    rows = ["email,name", *[f"a@example.com,{name}"] * 9]

    contacts = await read_contacts("\n".join(rows).encode(encoding), declared=None)

    assert [row[1] for row in contacts.table.rows()] == [name] * 9


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("told", [False, True])
async def test_the_delimiter_is_recognised(delimiter: str, line_end: str, told: bool) -> None:
    lines = [f"sep={delimiter}"] if told else []
    lines += [delimiter.join(["Email", '"City, or town"']), delimiter.join(["ann@example.com", '"Ulm; Bonn | Köln"'])]

    (record,) = await read_text(line_end.join(lines))

    assert (record.email, record.values) == ("ann@example.com", {"City, or town": "Ulm; Bonn | Köln"})


async def test_a_quoted_value_may_hold_lines_quotes_and_delimiters() -> None:
    (record,) = await read_text('Email,Note\r\nann@example.com,"One,\r\n""two"",\n\u2028three"\r\n')

    assert record.values == {"Note": 'One,\r\n"two",\n\u2028three'}


async def test_short_rows_have_not_read_what_they_lack_and_long_rows_have_too_much() -> None:
    short, long, empty = await read_text(
        "Email,City,Age\na@example.com,Ulm\nb@example.com,Bonn,7,8,9\nc@example.com,,\n"
    )

    assert short.values == {"City": "Ulm"}
    assert long.values == {"City": "Bonn", "Age": "7"}
    assert empty.values == {"City": None, "Age": None}


async def test_blank_rows_are_no_contacts() -> None:
    (record,) = await read_text("\n\nEmail,City\n\n , \na@example.com,\n,,\n")

    assert record.email == "a@example.com"


async def test_headers_that_are_blank_or_repeated_get_names_of_their_own() -> None:
    (record,) = await read_text("Email,Tag,,Tag,Tag 2\na@example.com,1,2,3,4\n")

    assert record.values == {"Tag": "1", "Column 3": "2", "Tag 2": "3", "Tag 2 2": "4"}


@pytest.mark.parametrize(
    ("header", "names"),
    [
        ("E-Mail,First Name,SURNAME,Phone number", ("Ann", "Lee", "1")),
        ("email_address,given-name,familyName,Mobile", ("Ann", "Lee", "1")),
        ("E-Mail-Adresse,Vorname,Nachname,Telefon", ("Ann", "Lee", "1")),
        ("Courriel,Prénom,Nom de famille,Téléphone", ("Ann", "Lee", "1")),
        ("Mail,Full name,Nickname,Number", ("Ann", None, None)),
    ],
)
async def test_common_headers_are_recognised(header: str, names: tuple[str | None, ...]) -> None:
    (record,) = await read_text(f"{header}\na@example.com,Ann,Lee,1\n")

    assert (record.email, record.first_name, record.last_name, record.phone) == ("a@example.com", *names)
    assert len(record.values) == (2 if names[1] is None else 0)


async def test_digits_that_excel_is_to_take_for_a_text_are_a_text() -> None:
    (record,) = await read_text('Email,Zip,Code,Sum\na@example.com,="00123","=""07""",=A1+A2\n')

    assert record.values == {"Zip": "00123", "Code": "07", "Sum": "=A1+A2"}


async def test_without_a_key_column_the_address_tells_people_apart_in_any_order() -> None:
    one, two = await read_text("Email,City\nAnn@Example.com,Ulm\nbo@example.com,Bonn\n")
    two_again, one_again = await read_text("Email,City\nbo@example.com,Bonn\nann@example.com,Ulm\n")

    assert (one.external_id, two.external_id) == (one_again.external_id, two_again.external_id)
    # An id outlives the erasure of its contact, so it must not be the address.
    assert "ann" not in one.external_id.lower()


async def test_a_key_stays_with_a_person_whose_address_changes() -> None:
    before = await read_text("Id,Email\n7,ann@example.com\n", "Id")
    after = await read_text("Id,Email\n7,ann@example.org\n", "Id")

    assert [record.external_id for record in (*before, *after)] == ["7", "7"]


async def test_no_address_is_an_external_id() -> None:
    by_address = await read_text("Email,Login\nAnn@example.com,ann@example.org\n")
    by_its_column = await read_text("Email,Login\nANN@example.com,ann@example.org\n", "Email")
    by_another = await read_text("Email,Login\nann@example.com,ann@example.org\n", "Login")

    assert [record.external_id for record in (*by_address, *by_its_column, *by_another)] == [
        *[hashlib.sha256(b"ann@example.com").hexdigest()] * 2,
        hashlib.sha256(b"ann@example.org").hexdigest(),
    ]


async def test_rows_with_the_same_key_or_address_are_told_apart() -> None:
    keys = await read_text("Id,Email\n7,a@example.com\n7,b@example.com\n,c@example.com\n,C@example.com\n,\n", "Id")
    nobody = await read_text("Email,City\n,Ulm\n,Bonn\n")

    assert [record.external_id for record in keys[:2]] == ["7", "7#2"]
    assert len({record.external_id for record in keys}) == 4
    assert len({record.external_id for record in nobody}) == 2


async def test_a_key_column_that_vanished_is_named() -> None:
    file = CsvFile(body=b"Email\na@example.com\n")

    assert await refusal(file) == "The file has no column 'Customer ID': choose another key."


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b"<!DOCTYPE html><title>Sign in</title>", "The address answers with a page, perhaps for signing in"),
        (b"\xef\xbb\xbf \n<html>Email, please</html>", "The address answers with a page, perhaps for signing in"),
        (b"PK\x03\x04...", "The file is an Excel workbook or an archive"),
        (b"", "The file must have between 1 and 1000 columns."),
        (b"\n\n  \n", "The file must have between 1 and 1000 columns."),
        (b"Email" + b"," * 5 + b"x," * 1000, "The file must have between 1 and 1000 columns."),
        (b"Name,City\nAnn,Ulm\n", "No column of the file is called Email"),
        (b'{"error": "not found"}', "No column of the file is called Email"),
        (b"Email,Note\na@example.com," + b"x" * 200_000, "The file cannot be read as CSV: field larger than"),
        (b"\xff\xfeE\x00m\x00a", "The file's encoding cannot be told"),
    ],
)
async def test_what_is_no_csv_file_is_told(body: bytes, told: str) -> None:
    assert (await refusal(CsvFile(body=body, criteria={}))).startswith(told)


async def test_a_file_that_is_cut_off_in_a_value_stores_nothing() -> None:
    whole = make(1200).content().decode() + '1,last@example.com,"Ann'

    assert await refusal(CsvFile(body=whole.encode())) == "The file ends inside a quoted value: it may be cut off."


@pytest.mark.parametrize("last", ["2,last@exa", '2,"last@exa"', "2"])
async def test_a_file_that_is_cut_off_in_its_last_row_stores_nothing(last: str) -> None:
    file = CsvFile(body=f"Customer ID,Email,City\n1,ann@example.com,Ulm\n{last}".encode())

    assert await refusal(file) == (
        "The file's last row lacks cells and a line end: it may be cut off. If it is not, end it with a line end."
    )


async def test_a_short_last_row_with_a_line_end_and_a_whole_one_without_are_not_cut_off() -> None:
    short = await read_text("Email,City\nann@example.com,Ulm\nbo@example.com\n")
    whole = await read_text("Email,City\nann@example.com,Ulm\nbo@example.com,")

    assert [record.values for record in (*short, *whole)] == [{"City": "Ulm"}, {}, {"City": "Ulm"}, {"City": None}]


async def test_a_body_shorter_than_was_announced_is_tried_again() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\nEmail\nann@example.com\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    async with server, open_client(allow_private_hosts=True) as client:
        with pytest.raises(TransientError):
            await identify(client, Credentials(url=url))


async def test_redirects_are_followed_and_passwords_stay_with_their_server() -> None:
    file, elsewhere = CsvFile(), make(1)
    elsewhere.origins = (ELSEWHERE,)
    file.redirects = {"/contacts.csv": f"{ELSEWHERE}/contacts.csv"}
    client = open_simulated(file, elsewhere)
    credentials = Credentials(url=f"{ORIGIN}/contacts.csv", username=USERNAME, password=PASSWORD)

    with pytest.raises(AccessRevokedError):
        await identify(client, credentials)

    assert "authorization" in file.traffic.exchanges[0].headers
    assert "authorization" not in elsewhere.traffic.exchanges[0].headers


async def test_a_redirect_at_the_same_server_is_let_in() -> None:
    file = make(2)
    file.redirects = {"/latest": "/contacts.csv"}
    file.credentials = {**file.credentials, "url": f"{ORIGIN}/latest"}

    assert sizes(await read(file)) == [2, 0]


@pytest.mark.parametrize(
    ("target", "told"),
    [
        ("/contacts.csv", "more than 5 redirects"),
        ("http://files.example.com/contacts.csv", "redirect from https to http"),
    ],
)
async def test_a_redirect_that_leads_nowhere_is_told(target: str, told: str) -> None:
    file = make(1)
    file.redirects = {"/contacts.csv": target}

    assert await refusal(file) == f"GET {ORIGIN}: 302 ({told})"
    assert len(file.traffic.exchanges) <= 6


async def test_a_redirect_to_a_private_address_is_refused() -> None:
    reached = []

    def handler(request: httpx.Request) -> httpx.Response:
        reached.append(request.url.host)
        return httpx.Response(302, headers={"Location": "http://169.254.169.254/latest/meta-data"})

    async with open_client(allow_private_hosts=False) as client:
        client._transport = httpx.MockTransport(handler)
        with pytest.raises(UnexpectedResponseError, match="private address"):
            await identify(client, Credentials(url="http://93.184.216.34/contacts.csv"))
    assert reached == ["93.184.216.34"]


async def test_a_token_opens_the_file_instead_of_a_password() -> None:
    seen = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request.headers.get("Authorization"))
        return httpx.Response(200, content=b"Email\n")

    async with httpx.AsyncClient(transport=httpx.MockTransport(handler)) as client:
        for way_in in ({"token": "töken"}, {"username": "ann", "password": "pass"}, {}):
            await identify(client, Credentials.model_validate({"url": "files.example.com/a.csv", **way_in}))

    assert seen == ["Bearer töken", "Basic YW5uOnBhc3M=", None]


async def test_files_are_told_apart_by_their_whole_address_which_nothing_shows() -> None:
    client = httpx.AsyncClient(transport=httpx.MockTransport(lambda _: httpx.Response(200, content=b"Email\n")))
    logins = [Credentials(url=f"https://files.example.com/export?key=s3cret-{number}") for number in (1, 2)]

    one, two = [await identify(client, login) for login in logins]

    assert one.identity != two.identity
    assert [one.label, two.label] == [f"CSV file {each.identity[:6]}, files.example.com" for each in (one, two)]
    assert "s3cret" not in f"{one!r} {logins!r}"


async def test_two_logins_at_one_address_are_two_accounts() -> None:
    client = httpx.AsyncClient(transport=httpx.MockTransport(lambda _: httpx.Response(200, content=b"Email\n")))
    logins = [Credentials(url="https://files.example.com/export", username=name) for name in (None, "berlin", "paris")]
    accounts = [await identify(client, login) for login in logins]

    assert len({account.identity for account in accounts}) == 3
    assert [account.label.partition(", ")[2] for account in accounts] == [
        "files.example.com",
        "berlin at files.example.com",
        "paris at files.example.com",
    ]


SECRET = "s3cret-link"


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        pytest.param(httpx.Response(404, text=f"Cannot GET /{SECRET}/a.csv"), ": 404", id="404"),
        pytest.param(httpx.Response(403, text=f"/{SECRET}/a.csv: no"), ": 403", id="403"),
        pytest.param(httpx.Response(500, text=f"at /{SECRET}/a.csv"), ": 500", id="500"),
        pytest.param(httpx.ReadTimeout(f"/{SECRET}/a.csv"), ": no answer (ReadTimeout)", id="hang"),
        pytest.param(httpx.DecodingError(SECRET), ": the body cannot be decompressed", id="no gzip"),
        pytest.param(httpx.Response(200, text="Name\nAnn\n"), None, id="no CSV file of ours"),
        pytest.param(
            httpx.Response(302, headers={"Location": f"/{SECRET}"}), ": 302 (more than 5 redirects)", id="302"
        ),
        pytest.param(
            httpx.Response(302, headers={"Location": f"https://files.example.com:{SECRET}"}),
            ": no answer (RemoteProtocolError)",
            id="302 to nowhere",
        ),
        pytest.param(
            httpx.Response(302, headers={"Location": f"http://files.example.com/{SECRET}"}),
            ": 302 (redirect from https to http)",
            id="302 in the open",
        ),
    ],
)
async def test_a_link_is_a_secret_that_no_error_tells(answer: httpx.Response | Exception, told: str | None) -> None:
    def handler(_: httpx.Request) -> httpx.Response:
        if isinstance(answer, Exception):
            raise answer
        return answer

    client = httpx.AsyncClient(transport=httpx.MockTransport(handler))
    with pytest.raises(ConnectorError) as raised:
        await identify(client, Credentials(url=f"{ORIGIN}/{SECRET}/a.csv"))

    assert told is None or str(raised.value) == f"GET {ORIGIN}{told}"
    assert SECRET not in "".join(traceback.format_exception(raised.value))
    assert (raised.value.__cause__, raised.value.__context__) == (None, None)


async def test_the_columns_but_the_addresses_are_offered_as_keys() -> None:
    file = make(1)
    credentials = Credentials.model_validate(file.credentials)

    found = await SERVICE.choices(open_simulated(file), credentials, "key_column")

    assert [choice.value for choice in found] == [name for name in COLUMNS if name != "Email"]


CELLS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8).map(str.strip)


@given(
    rows=st.lists(st.lists(CELLS, min_size=3, max_size=3), max_size=8),
    delimiter=st.sampled_from(",;\t|"),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
)
@settings(max_examples=60, deadline=None, database=None)
async def test_whatever_a_writer_writes_is_read(rows: list[list[str]], delimiter: str, encoding: str) -> None:
    file = io.StringIO()
    csv.writer(file, delimiter=delimiter).writerows([["Email", "A", "B"], *rows])

    contacts = await read_contacts(file.getvalue().encode(encoding), declared=None)

    cleaned = [[cell[2:-1] if re.fullmatch(r'="[^\x00]*"', cell) else cell for cell in row] for row in rows]
    assert [*contacts.table.rows()] == [row for row in cleaned if any(row)]


@given(st.binary(max_size=300))
@settings(max_examples=100, deadline=None, database=None)
async def test_bytes_of_any_kind_are_contacts_or_refused(body: bytes) -> None:
    try:
        contacts = await read_contacts(body, declared=None)
    except UnexpectedResponseError:
        return
    header, records = contacts.table.header, [*contacts.records()]
    assert len(records) == len({record.external_id for record in records}) == contacts.table.size
    assert len({*header}) == len(header)
