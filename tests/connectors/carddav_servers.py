"""CardDAV servers for tests: a login at the real one, and one in memory whose habits can be chosen."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from xml.etree import ElementTree as ET
from xml.sax.saxutils import escape

import httpx

from api.sample_service import CardDavServer
from connectors.base import Page
from connectors.carddav.books import Credentials
from connectors.carddav.connector import CardDav, Criteria

PASSWORD = "s3cret-pässword"
HOME = "/dav/books/ann/"
BOOK = f"{HOME}contacts/"


def vcard(name: str, *lines: str, version: str = "3.0") -> str:
    """A card of a person whose address is made of the name."""
    email = f"{name.lower()}@example.com"
    content = ["BEGIN:VCARD", f"VERSION:{version}", f"UID:{name}", f"FN:{name}", f"EMAIL:{email}", *lines]
    return "\r\n".join([*content, "END:VCARD", ""])


async def read(connector: CardDav, checkpoint: Mapping[str, object] | None = None) -> list[Page]:
    """Read all pages."""
    return [page async for page in connector.pages(checkpoint)]


def ids(pages: Sequence[Page]) -> list[str]:
    """The external ids of all records, in order."""
    return [record.external_id for page in pages for record in page.records]


def emails(pages: Sequence[Page]) -> list[str | None]:
    """The addresses of all records, sorted."""
    return sorted((record.email for page in pages for record in page.records), key=str)


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """A user of its own at the real server."""

    server: CardDavServer
    client: httpx.AsyncClient
    username: str

    @property
    def credentials(self) -> Credentials:
        return Credentials.model_validate({"url": self.server.url, "username": self.username, "password": PASSWORD})

    def connector(self, address_book: str | None = None) -> CardDav:
        return CardDav(self.client, self.credentials, Criteria(address_book=address_book))

    async def make_book(self, name: str) -> str:
        """Make an address book and return its path."""
        path = f"/{self.username}/{name}/"
        body = (
            '<mkcol xmlns="DAV:"><set><prop><resourcetype><collection/>'
            '<C:addressbook xmlns:C="urn:ietf:params:xml:ns:carddav"/></resourcetype>'
            f"<displayname>{name.capitalize()}</displayname></prop></set></mkcol>"
        )
        await self._send("MKCOL", path, body, "application/xml")
        return path

    async def put(self, path: str, card: str) -> None:
        await self._send("PUT", path, card, "text/vcard")

    async def delete(self, path: str) -> None:
        await self._send("DELETE", path, "", "text/plain")

    async def _send(self, method: str, path: str, body: str, content_type: str) -> None:
        response = await self.client.request(
            method,
            self.server.url + path,
            content=body.encode(),
            headers={"Content-Type": content_type},
            auth=httpx.BasicAuth(self.username, PASSWORD),
        )
        response.raise_for_status()


@dataclass(slots=True, kw_only=True)
class Simulator:
    """A handler for httpx.MockTransport: one login with one address book.

    `syncs`: it knows sync-collection. `invalid_token_status`: how it refuses a token. `truncates_at`: it reports so
    many changes at a time, with 507. `prefix`: the namespace prefix of its answers ("" for a default namespace).
    """

    syncs: bool = True
    invalid_token_status: int = 403
    truncates_at: int = 1_000_000
    prefix: str = "d"
    cards: dict[str, str] = field(default_factory=dict)
    history: list[str] = field(default_factory=list)
    forgotten: int = 0
    requests: list[httpx.Request] = field(default_factory=list)

    @property
    def credentials(self) -> Credentials:
        return Credentials.model_validate({"url": "https://dav.example.com", "username": "ann", "password": PASSWORD})

    def connector(self, address_book: str | None = None) -> CardDav:
        client = httpx.AsyncClient(transport=httpx.MockTransport(self))
        return CardDav(client, self.credentials, Criteria(address_book=address_book))

    def put(self, name: str, card: str | None = None) -> None:
        """Store a card under a name; by default one that differs from the one before."""
        path = f"{BOOK}{name}.vcf"
        self.cards[path] = card if card is not None else vcard(name, f"NOTE:{len(self.history)}")
        self.history.append(path)

    def delete(self, name: str) -> None:
        path = f"{BOOK}{name}.vcf"
        if self.cards.pop(path, None) is not None:
            self.history.append(path)

    def reported(self, request: httpx.Request) -> str:
        """The name of the report a request asks for."""
        return ET.fromstring(request.content).tag.rpartition("}")[2]

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        if request.headers["Content-Type"].partition(";")[0] != "application/xml":
            return httpx.Response(415)
        path, depth = request.url.path, request.headers.get("Depth")
        match request.method, path, depth:
            case "PROPFIND", "/.well-known/carddav", _:
                return httpx.Response(301, headers={"Location": "/dav/"})
            case "PROPFIND", "/dav/", _:
                return self._answer(self._found("/dav/", self._href("current-user-principal", "/dav/people/ann/")))
            case "PROPFIND", "/dav/people/ann/", _:
                return self._answer(self._found(path, self._href("c:addressbook-home-set", HOME)))
            case "PROPFIND", str(where), "1" if where == HOME:
                return self._answer(self._found(HOME, self._type("")), self._book())
            case "PROPFIND", str(where), "0" if where == BOOK:
                return self._answer(self._book())
            case "PROPFIND", str(where), "1" if where == BOOK:
                return self._answer(self._book(), *(self._etag(card) for card in self.cards))
            case "REPORT", _, _:
                return self._report(request)
        return httpx.Response(404)

    def _report(self, request: httpx.Request) -> httpx.Response:
        tree = ET.fromstring(request.content)
        if tree.tag == "{urn:ietf:params:xml:ns:carddav}addressbook-multiget":
            hrefs = [href.text or "" for href in tree.findall("{DAV:}href")]
            return self._answer(*(self._card(href) for href in hrefs))
        token = (tree.findtext("{DAV:}sync-token") or "").rpartition("/")[2]
        since = int(token) if token else 0
        if token and since < self.forgotten:
            return httpx.Response(
                self.invalid_token_status, text='<x:error xmlns:x="DAV:"><x:valid-sync-token/></x:error>'
            )
        # Each member is reported where it changed last.
        last = {path: number for number, path in enumerate(self.history, 1)}
        changes = sorted((number, path) for path, number in last.items() if number > since)
        changed = {path: number for number, path in changes[: self.truncates_at]}
        until = max(changed.values(), default=since) if len(changed) < len(changes) else len(self.history)
        truncated = [self._status(BOOK, "507 Insufficient Storage")] if until < len(self.history) else []
        tag = self._tag("sync-token")
        return self._answer(
            *(self._etag(path) if path in self.cards else self._status(path, "404 Not Found") for path in changed),
            *truncated,
            f"<{tag}>https://dav.example.com/sync/{until}</{tag}>",
        )

    def _answer(self, *responses: str) -> httpx.Response:
        tag = self._tag("multistatus")
        namespace = f"xmlns:{self.prefix}" if self.prefix else "xmlns"
        body = (
            f'<?xml version="1.0"?><{tag} {namespace}="DAV:" xmlns:c="urn:ietf:params:xml:ns:carddav">'
            f"{''.join(responses)}</{tag}>"
        )
        return httpx.Response(207, text=body, headers={"Content-Type": "application/xml; charset=utf-8"})

    def _book(self) -> str:
        token = self._element("sync-token", f"https://dav.example.com/sync/{len(self.history)}")
        return self._found(
            BOOK, self._type("<c:addressbook/>"), self._element("displayname", "Ann’s"), token if self.syncs else ""
        )

    def _card(self, href: str) -> str:
        if href not in self.cards:
            return self._status(href, "404 Not Found")
        return self._found(href, f"<c:address-data>{escape(self.cards[href])}</c:address-data>")

    def _etag(self, path: str) -> str:
        return self._found(path, self._element("getetag", f'W/"{hash(self.cards[path])}"'))

    def _type(self, inner: str) -> str:
        return self._element("resourcetype", f"<{self._tag('collection')}/>{inner}")

    def _href(self, name: str, path: str) -> str:
        return self._element(name, self._element("href", path))

    def _found(self, path: str, *properties: str) -> str:
        status = self._element("status", "HTTP/1.1 200 OK")
        propstat = self._element("propstat", self._element("prop", "".join(properties)) + status)
        return self._element("response", self._element("href", path) + propstat)

    def _status(self, path: str, status: str) -> str:
        status = self._element("status", f"HTTP/1.1 {status}")
        return self._element("response", self._element("href", path) + status)

    def _element(self, name: str, inner: str) -> str:
        return f"<{self._tag(name)}>{inner}</{self._tag(name)}>"

    def _tag(self, name: str) -> str:
        return name if ":" in name or not self.prefix else f"{self.prefix}:{name}"
