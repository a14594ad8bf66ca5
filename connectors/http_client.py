"""The client that connectors share: whom it reaches, and whom it does not."""

import asyncio
import ssl
from collections.abc import Mapping
from functools import cache, partial
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from socket import SOCK_STREAM

import httpx
from httpx_secure import SSRFProtectionError, httpx_ssrf_protection

from connectors.http import origin

TIMEOUT = httpx.Timeout(20.0, connect=5.0, pool=5.0)
NO_ORIGINS: Mapping[str, str] = {}

NAT64 = IPv6Network("64:ff9b::/96")
"""What a gateway reaches as the IPv4 address in its last 32 bits (RFC 6052)."""
LOCAL_NAT64 = IPv6Network("64:ff9b:1::/48")
"""The same within one network (RFC 8215)."""


def open_client(*, allow_private_hosts: bool, origins: Mapping[str, str] = NO_ORIGINS) -> httpx.AsyncClient:
    """Open the client that connectors share. It ignores proxy variables and follows no redirect by itself.

    Unless `allow_private_hosts`, it connects to globally reachable addresses only. `origins` says which are reached
    elsewhere: `{"https://people.googleapis.com": "http://127.0.0.1:9000"}` leads to a simulator.
    """
    hooks = [partial(_reach_elsewhere, origins)] if origins else []
    client = httpx.AsyncClient(
        verify=_tls(),
        headers={"User-Agent": "Sluice"},
        timeout=TIMEOUT,
        trust_env=False,
        follow_redirects=False,
        event_hooks={"request": [*hooks, *([] if allow_private_hosts else [_refuse_private_host])]},
    )
    return client if allow_private_hosts else httpx_ssrf_protection(client)


@cache
def _tls() -> ssl.SSLContext:
    """Made once: reading the certificates takes longer than a cycle that finds nothing."""
    return httpx.create_ssl_context(trust_env=False)


def elsewhere(url: httpx.URL, origins: Mapping[str, str]) -> httpx.URL:
    """Where `url` is really reached, by `origins` as in `open_client`."""
    target = origins.get(origin(url))
    if target is None:
        return url
    there = httpx.URL(target)
    return url.copy_with(scheme=there.scheme, host=there.host, port=there.port)


async def _reach_elsewhere(origins: Mapping[str, str], request: httpx.Request) -> None:
    # The Host header stays: it tells a simulator which service, and which shop, is meant.
    request.url = elsewhere(request.url, origins)


async def _refuse_private_host(request: httpx.Request) -> None:
    """Look before connecting: httpx-secure looks at the connection made, which would tell open ports from closed ones.

    What the name means may change in between; then httpx-secure still ends the connection unused.
    """
    try:
        found = await asyncio.get_running_loop().getaddrinfo(request.url.host, request.url.port, type=SOCK_STREAM)
    except OSError as error:
        raise httpx.ConnectError("the host has no address", request=request) from error
    if not all(is_public(str(address[0])) for *_, address in found):
        raise SSRFProtectionError(
            "private address", request=request, hostname=request.url.host, ip_addr=None, port=request.url.port or 0
        )


def is_public(address: str) -> bool:
    """Whether an IP address is globally reachable, as itself and as the IPv4 address that stands in it."""
    parsed = ip_address(address.partition("%")[0])
    if isinstance(parsed, IPv4Address):
        return parsed.is_global
    inside = _inside(parsed)
    if inside is not None:
        return inside.is_global
    return parsed.is_global and not parsed.is_site_local and parsed not in LOCAL_NAT64


def _inside(address: IPv6Address) -> IPv4Address | None:
    if address in NAT64:
        return IPv4Address(address.packed[-4:])
    return address.ipv4_mapped or address.sixtofour
