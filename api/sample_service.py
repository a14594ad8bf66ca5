"""A real CardDAV server with a sample address book: what `sluice demo` and the tests import from."""

import json
import random
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

START_SECONDS = 15.0
STOP_SECONDS = 5.0

# Not durable, which a sample need not be and which halves the time of the first listing; and gone when its
# parent is, however that ended: the pipe on its standard input closes then.
BOOTSTRAP = """\
import os, runpy, threading
os.fsync = lambda descriptor: None
threading.Thread(target=lambda: (os.read(0, 1), os._exit(0)), daemon=True).start()
runpy.run_module("radicale", run_name="__main__")
"""

CONFIGURATION = """\
[server]
hosts = 127.0.0.1:{port}
max_connections = 50

[auth]
type = htpasswd
htpasswd_filename = {directory}/users
htpasswd_encryption = plain
delay = 0

[storage]
filesystem_folder = {directory}/storage

[web]
type = none

[logging]
level = warning
"""

FIRST_NAMES = (
    "Ann", "Bo", "Chloé", "Dmitri", "Eun-ji", "Fatima", "Giulia", "Håkon", "İpek", "José", "Karolína", "Łukasz",
    "María José", "Nguyễn", "Oluwaseun", "Pádraig", "Quentin", "Renée", "Søren", "Tadeáš", "Uma", "Zoë", "🌻 Iris",
    "محمد", "נועה", "Алиса", "美咲", "สมชาย",
)  # fmt: skip
LAST_NAMES = (
    "Andersen", "Brontë", "Castillo", "Dąbrowski", "de la Vega", "Eriksson", "Fischer", "García Márquez", "Huang",
    "Ivanova", "Jansen", "Kowalska", "Lindqvist", "Müller", "N'Dour", "O’Brien", "Papadopoulos", "Quispe", "Rossi",
    "Smith-Jones", "Tanaka", "Ünal", "van den Berg", "Weiß", "الخطيب", "כהן", "🚀",
)  # fmt: skip
ORGANIZATIONS = ("Nordwind GmbH", "Blue Kettle Ltd;Sales", r"Castillo\, Rossi & Sons", "株式会社みどり", "Fjord AS")
TITLES = ("Head of Marketing", "Buyer", "Ingénieure", "Owner", "Volunteer")
NOTES = ("Met at the fair.", r"Prefers tea\, not coffee.\nCalls back on Fridays.", "VIP ⭐", "يفضل البريد الإلكتروني")
CATEGORIES = ("Newsletter", "Customer,Newsletter", "Friend", "Press,Partner")
PLACES = (
    "Berlin;;10115;Germany",
    "Lyon;;69001;France",
    "Leeds;West Yorkshire;LS1 4AP;United Kingdom",
    "Oslo;;0150;Norway",
)
DOMAINS = ("example.com", "example.org", "mail.example.com", "shop.example.net")
INVALID_ADDRESSES = ("ann(at)example.com", "n/a", "ann@@example.com", "ann@localhost", "@example.com")


class SampleServiceError(Exception):
    """The sample service cannot be started; the message says what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CardDavServer:
    """A running server: where it is, a login, and the directory that holds all it knows."""

    port: int
    directory: Path
    username: str = "sample"
    password: str = "sample"  # noqa: S105

    @property
    def url(self) -> str:
        """The address to connect to."""
        return f"http://127.0.0.1:{self.port}"

    def add_user(self, username: str, password: str) -> None:
        """Let one more user sign in, at once."""
        with (self.directory / "users").open("a", encoding="utf-8") as users:
            users.write(f"{username}:{password}\n")


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleBook:
    """What a sample address book holds, in cards.

    `duplicates` counts those whose address an other card has, too, without that other card; `importable` is the
    number of contacts that come out of it.
    """

    cards: int
    without_email: int
    invalid_email: int
    duplicates: int

    @property
    def importable(self) -> int:
        """Contacts that an import makes of the book."""
        return self.cards - self.without_email - self.invalid_email - self.duplicates


@contextmanager
def radicale(directory: Path, port: int) -> Iterator[CardDavServer]:
    """Run Radicale on 127.0.0.1 until the block ends; it keeps its data, users and log in `directory`.

    Raises SampleServiceError if Radicale is not installed, the port is taken, or it does not start.
    """
    if find_spec("radicale") is None:
        raise SampleServiceError("Radicale is not installed: it comes with the development group (uv sync).")
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError as error:
        raise SampleServiceError(f"Port {port} of 127.0.0.1 cannot be used: {error.strerror}") from error
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    server = CardDavServer(port=port, directory=directory)
    (directory / "users").write_text("")
    server.add_user(server.username, server.password)
    configuration = directory / "config"
    configuration.write_text(CONFIGURATION.format(port=port, directory=directory))
    with (
        (directory / "log").open("ab") as log,
        subprocess.Popen(  # noqa: S603
            [sys.executable, "-c", BOOTSTRAP, "--config", str(configuration)],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            cwd=directory,
        ) as process,
    ):
        try:
            _wait_until_it_answers(server, process)
            yield server
        finally:
            _stop(process)


def write_vcards(
    server: CardDavServer, count: int = 1200, *, seed: int = 1, username: str | None = None, name: str = "contacts"
) -> SampleBook:
    """Make an address book of invented people, the same ones for the same seed. Raises FileExistsError.

    The cards are files in Radicale's own layout: as requests they would take ten times as long.
    """
    book = server.directory / "storage" / "collection-root" / (username or server.username) / name
    book.mkdir(parents=True)
    properties = {"tag": "VADDRESSBOOK", "D:displayname": name.capitalize()}
    (book / ".Radicale.props").write_text(json.dumps(properties))
    sample = SampleBook(
        cards=count,
        without_email=count * 40 // 1200,
        invalid_email=count * 20 // 1200,
        duplicates=count * 15 // 1200,
    )
    for number, card in enumerate(_cards(sample, random.Random(seed))):  # noqa: S311
        (book / f"{number:05}.vcf").write_text(card, encoding="utf-8", newline="")
    return sample


def _cards(sample: SampleBook, chance: random.Random) -> Iterator[str]:
    numbers = list(range(sample.cards))
    chance.shuffle(numbers)
    emails: dict[int, str | None] = dict.fromkeys(numbers[: sample.without_email])
    del numbers[: sample.without_email]
    emails |= {number: chance.choice(INVALID_ADDRESSES) for number in numbers[: sample.invalid_email]}
    del numbers[: sample.invalid_email]
    copies, originals = numbers[: sample.duplicates], numbers[sample.duplicates :]
    emails |= {number: f"person{number}@{chance.choice(DOMAINS)}" for number in originals}
    # A different spelling of the same address is the same address.
    emails |= {copy: str(emails[original]).upper() for copy, original in zip(copies, originals, strict=False)}
    for number in range(sample.cards):
        yield _card(number, emails[number], chance)


def _card(number: int, email: str | None, chance: random.Random) -> str:
    first, last = chance.choice(FIRST_NAMES), chance.choice(LAST_NAMES)
    modern = chance.random() < 0.4
    lines = ["BEGIN:VCARD", f"VERSION:{'4.0' if modern else '3.0'}", f"UID:sample-{number:05}"]
    lines += [f"N:{last};{first};;;", f"FN:{first} {last}"]
    # Only beside a valid address: a second one would stand in for an invalid first.
    if email and email not in INVALID_ADDRESSES and chance.random() < 0.1:
        lines += [f"EMAIL;TYPE=HOME:private{number}@example.net"]
        lines += [f"EMAIL;PREF=1:{email}" if modern else f"EMAIL;TYPE=WORK,PREF:{email}"]
    elif email:
        lines += [f"EMAIL:{email}"]
    phone = f"+49-30-{chance.randrange(1_000_000, 10_000_000)}"
    lines += [f"TEL;VALUE=uri;TYPE=cell:tel:{phone}" if modern else f"TEL;TYPE=CELL:{phone}"]
    if chance.random() < 0.7:
        lines += [f"ORG:{chance.choice(ORGANIZATIONS)}", f"TITLE:{chance.choice(TITLES)}"]
    if chance.random() < 0.5:
        born = f"{chance.randrange(1945, 2005)}-{chance.randrange(1, 13):02}-{chance.randrange(1, 29):02}"
        lines += [f"BDAY:{born.replace('-', '') if modern else born}"]
    if chance.random() < 0.4:
        lines += [f"NOTE:{chance.choice(NOTES)}", f"CATEGORIES:{chance.choice(CATEGORIES)}"]
    if chance.random() < 0.6:
        lines += [f"ADR;TYPE=HOME:;;{chance.randrange(1, 200)} High Street;{chance.choice(PLACES)}"]
    if chance.random() < 0.3:
        lines += [f"X-CUSTOMER-NUMBER:{100_000 + number}"]
    return "\r\n".join([*lines, "END:VCARD", ""])


def _wait_until_it_answers(server: CardDavServer, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with socket.create_connection(("127.0.0.1", server.port), timeout=1):
                return
        except OSError:
            time.sleep(0.05)
    raise SampleServiceError(f"Radicale did not start on port {server.port}: see {server.directory / 'log'}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
