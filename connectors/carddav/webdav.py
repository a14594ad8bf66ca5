"""PROPFIND and REPORT: multistatus answers, read without trust in the server's XML.

https://www.rfc-editor.org/rfc/rfc4918, https://www.rfc-editor.org/rfc/rfc6578
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, Never
from xml.etree import ElementTree as ET
from xml.sax.saxutils import escape

import httpx

from connectors.base import CheckpointExpiredError, UnexpectedResponseError
from connectors.http import check, describe
from connectors.redirects import follow

MAX_TRUNCATIONS = 1000

# XML 1.0 allows none of these, and some servers pass on what a client once stored.
CONTROL_CHARACTERS = bytes({*range(32)} - {*b"\t\n\r"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """One `response` element. `status` is 200 where the server gave one to the properties only.

    `properties` are those it has, by Clark name.
    """

    url: httpx.URL
    status: int
    properties: Mapping[str, ET.Element]

    @property
    def path(self) -> str:
        """The path as the server escapes it."""
        return self.url.raw_path.decode()

    def text(self, name: str) -> str | None:
        """Return the text of a property, None where it is missing or empty."""
        element = self.properties.get(name)
        return None if element is None else (element.text or "").strip() or None

    def hrefs(self, name: str) -> list[httpx.URL]:
        """Return the URLs that a property holds."""
        element = self.properties.get(name)
        found = [] if element is None else element.findall("{DAV:}href")
        return [self.url.join((href.text or "").strip()) for href in found]

    def has(self, name: str, value: str) -> bool:
        """Tell whether a property holds an element of this name at any depth."""
        element = self.properties.get(name)
        return element is not None and element.find(f".//{value}") is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """What `sync-collection` reports: entity tags of changed resources by path, None for removed ones."""

    etags: Mapping[str, str | None]
    token: str


class WebDav:
    """A client for one login at one server."""

    def __init__(self, client: httpx.AsyncClient, *, username: str, password: str) -> None:
        self._client = client
        self._auth = httpx.BasicAuth(username, password)

    async def propfind(self, url: httpx.URL, *names: str, depth: int) -> list[Resource]:
        """Read properties, given as Clark names, of a resource (depth 0) or of its members too (depth 1)."""
        properties = "".join(_empty_element(name) for name in names)
        body = f'<propfind xmlns="DAV:"><prop>{properties}</prop></propfind>'
        return _resources(*await self._multistatus("PROPFIND", url, body, depth=depth))

    async def report(self, url: httpx.URL, body: str) -> list[Resource]:
        """Run a report that answers with a multistatus."""
        return _resources(*await self._multistatus("REPORT", url, body, depth=None))

    async def sync_collection(self, url: httpx.URL, token: str) -> Changes:
        """Report what changed since `token`; all members if it is empty.

        Raises CheckpointExpiredError where the server has forgotten the token (RFC 6578, section 3.2).
        Never asks for a limit: there are servers that cut the list and hand out the final token.
        """
        etags: dict[str, str | None] = {}
        for _ in range(MAX_TRUNCATIONS):
            body = (
                f'<sync-collection xmlns="DAV:"><sync-token>{escape(token)}</sync-token>'
                "<sync-level>1</sync-level><prop><getetag/></prop></sync-collection>"
            )
            tree, base = await self._multistatus("REPORT", url, body, depth=0, token=token)
            resources = _resources(tree, base)
            token = (tree.findtext("{DAV:}sync-token") or "").strip()
            if not token:
                raise UnexpectedResponseError(f"REPORT {base}: no sync-token in the answer")
            changes = members(resources, base)
            truncated = any(resource.status == 507 for resource in resources)
            # A member that changes meanwhile is reported again, with another entity tag.
            progress = not changes.items() <= etags.items()
            etags.update(changes)
            if not truncated:
                return Changes(etags=etags, token=token)
            if not progress:
                break
        raise UnexpectedResponseError(f"REPORT {url}: the list of changes is truncated again and again")

    async def _multistatus(
        self, method: str, url: httpx.URL, body: str, *, depth: int | None, token: str = ""
    ) -> tuple[ET.Element, httpx.URL]:
        response = await self._send(method, url, body, depth)
        # Servers use 400, 403, 409, 410 and 412 for it; the element is what the RFC promises.
        if token and 400 <= response.status_code < 500 and _names_invalid_token(response):
            raise CheckpointExpiredError(describe(response))
        if check(response).status_code != 207:
            raise UnexpectedResponseError(f"{describe(response)} (207 Multi-Status expected)")
        tree = _parse(response)
        if tree.tag != "{DAV:}multistatus":
            raise UnexpectedResponseError(f"{describe(response)} (a DAV: multistatus expected)")
        return tree, response.request.url

    async def _send(self, method: str, url: httpx.URL, body: str, depth: int | None) -> httpx.Response:
        # Anything else is answered with 415 by some servers.
        headers = {"Content-Type": "application/xml; charset=utf-8"}
        if depth is not None:
            headers["Depth"] = str(depth)
        # iCloud keeps the address books on a host of its own.
        return await follow(
            self._client, method, url, auth=self._auth, auth_moves=True, headers=headers, content=body.encode()
        )


def _empty_element(name: str) -> str:
    namespace, _, local = name[1:].partition("}")
    return f'<{local} xmlns="{namespace}"/>'


def members(resources: Sequence[Resource], collection: httpx.URL) -> dict[str, str | None]:
    """Entity tags of a collection's files by path ("" where there is none), None for those that are gone."""
    return {
        resource.path: None if resource.status in {404, 410} else resource.text("{DAV:}getetag") or ""
        for resource in resources
        if resource.status != 507 and resource.url.path != collection.path and not resource.path.endswith("/")
    }


def _resources(multistatus: ET.Element, base: httpx.URL) -> list[Resource]:
    return [_resource(element, base) for element in multistatus.findall("{DAV:}response")]


def _resource(response: ET.Element, base: httpx.URL) -> Resource:
    href = (response.findtext("{DAV:}href") or "").strip()
    found = [
        element
        for propstat in response.findall("{DAV:}propstat")
        if _status(propstat) < 300
        for element in propstat.iterfind("{DAV:}prop/*")
    ]
    try:
        url = base.join(href)
    except httpx.InvalidURL as error:
        raise UnexpectedResponseError(f"{base}: an href that is no URL") from error
    return Resource(url=url, status=_status(response), properties={element.tag: element for element in found})


def _status(element: ET.Element) -> int:
    line = re.search(r"\s(\d{3})\b", element.findtext("{DAV:}status") or "")
    return int(line[1]) if line else 200


def _names_invalid_token(response: httpx.Response) -> bool:
    try:
        return _parse(response).find(".//{DAV:}valid-sync-token") is not None
    except UnexpectedResponseError:
        return False


def _parse(response: httpx.Response) -> ET.Element:
    try:
        return _read_xml(response.content)
    except ET.ParseError as error:
        failure = error
    try:
        return _read_xml(response.content.translate(None, CONTROL_CHARACTERS))
    except ET.ParseError:
        raise UnexpectedResponseError(f"{describe(response)} (not XML: {failure})") from failure


def _read_xml(content: bytes) -> ET.Element:
    # Without a document type there are no entities, hence no billion laughs. HTML pages end here, too.
    builder = ET.TreeBuilder()
    target: Any = SimpleNamespace(
        start=builder.start, end=builder.end, data=builder.data, close=builder.close, doctype=_refuse_doctype
    )
    parser = ET.XMLParser(target=target)  # noqa: S314
    parser.feed(content)
    tree: ET.Element = parser.close()
    return tree


def _refuse_doctype(*_: object) -> Never:
    raise ET.ParseError("document types are not accepted")
