"""Where the address books of a CardDAV login are (RFC 6352, section 7; RFC 6764; RFC 5397)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import httpx
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr

from connectors.base import UnexpectedResponseError
from connectors.carddav.webdav import Resource, WebDav
from connectors.http import web_address

ADDRESS_BOOK = "{urn:ietf:params:xml:ns:carddav}addressbook"
HOME_SET = "{urn:ietf:params:xml:ns:carddav}addressbook-home-set"
PRINCIPAL = "{DAV:}current-user-principal"
RESOURCE_TYPE = "{DAV:}resourcetype"
DISPLAY_NAME = "{DAV:}displayname"
SYNC_TOKEN = "{DAV:}sync-token"  # noqa: S105
REPORTS = "{DAV:}supported-report-set"

BOOK_PROPERTIES = (RESOURCE_TYPE, DISPLAY_NAME, SYNC_TOKEN, REPORTS)


def _server_address(text: str) -> str:
    return str(web_address(text).copy_with(query=None))


class Credentials(BaseModel):
    """A login at a CardDAV server."""

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True, extra="forbid")

    url: Annotated[str, AfterValidator(_server_address)] = Field(
        title="Server address",
        description="The address of the server, or of a single address book.",
        max_length=2000,
        examples=["https://cloud.example.com", "https://contacts.icloud.com"],
    )
    username: str = Field(title="User name", min_length=1, max_length=500)
    password: SecretStr = Field(
        title="Password",
        description="An app password, where the server offers them (iCloud and Fastmail accept no other).",
        max_length=500,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class AddressBook:
    """A collection of vCards. `sync_token` is its present one; `syncs` whether it can report changes."""

    url: httpx.URL
    path: str
    name: str
    syncs: bool
    sync_token: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """What discovery found: the login's principal, and collections that hold address books or are one."""

    principal: httpx.URL | None
    homes: Sequence[httpx.URL]
    is_book: bool = False


def open_webdav(client: httpx.AsyncClient, credentials: Credentials) -> WebDav:
    """Make a client that signs in with these credentials."""
    return WebDav(client, username=credentials.username, password=credentials.password.get_secret_value())


async def find_place(dav: WebDav, credentials: Credentials) -> Place:
    """Find where the address books are, from the address of a server, principal, home or address book."""
    address = httpx.URL(credentials.url)
    well_known = address.join("/.well-known/carddav")
    candidates = [well_known, address] if address.path == "/" else [address, well_known]
    failures: dict[httpx.URL, UnexpectedResponseError] = {}
    for candidate in candidates:
        try:
            found = await dav.propfind(candidate, RESOURCE_TYPE, PRINCIPAL, HOME_SET, depth=0)
            if found:
                return await _place(dav, found[0])
        except UnexpectedResponseError as error:
            failures[candidate] = error
    raise failures.get(address) or UnexpectedResponseError(f"{address}: no answer about this address")


async def address_books(dav: WebDav, place: Place) -> list[AddressBook]:
    """List the address books of a place, ordered by path."""
    found = [
        resource
        for home in place.homes
        for resource in await dav.propfind(home, *BOOK_PROPERTIES, depth=0 if place.is_book else 1)
        if resource.has(RESOURCE_TYPE, ADDRESS_BOOK)
    ]
    return sorted((_address_book(resource) for resource in found), key=lambda book: book.path)


async def _place(dav: WebDav, found: Resource) -> Place:
    principal = next(iter(found.hrefs(PRINCIPAL)), None)
    if found.has(RESOURCE_TYPE, ADDRESS_BOOK):
        return Place(principal=principal, homes=[found.url], is_book=True)
    homes = found.hrefs(HOME_SET)
    if not homes and principal:
        homes = [
            home for resource in await dav.propfind(principal, HOME_SET, depth=0) for home in resource.hrefs(HOME_SET)
        ]
    return Place(principal=principal, homes=homes or [found.url])


def _address_book(resource: Resource) -> AddressBook:
    token = resource.text(SYNC_TOKEN)
    return AddressBook(
        url=resource.url,
        path=resource.path,
        name=resource.text(DISPLAY_NAME) or resource.url.path.rstrip("/").rpartition("/")[2],
        syncs=token is not None or resource.has(REPORTS, "{DAV:}sync-collection"),
        sync_token=token,
    )
