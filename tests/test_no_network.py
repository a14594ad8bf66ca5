"""The tests cannot leave this machine. The addresses are reserved for documentation (RFC 5737, 3849, 2606)."""

import asyncio
import socket

import pytest


@pytest.mark.parametrize(
    ("family", "address"),
    [(socket.AF_INET, ("192.0.2.1", 80)), (socket.AF_INET6, ("2001:db8::1", 80))],
    ids=["IPv4", "IPv6"],
)
@pytest.mark.parametrize("method", ["connect", "connect_ex"])
def test_a_connection_to_another_machine_raises(
    family: socket.AddressFamily, address: tuple[str, int], method: str
) -> None:
    with socket.socket(family) as client, pytest.raises(RuntimeError, match=f"{address[0]}.* is not on this machine"):
        getattr(client, method)(address)


def test_a_datagram_to_another_machine_raises() -> None:
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client,
        pytest.raises(RuntimeError, match="is not on this machine"),
    ):
        client.sendto(b"x", ("192.0.2.1", 53))


def test_looking_up_a_name_raises() -> None:
    with pytest.raises(RuntimeError, match=r"'service\.example' is not on this machine"):
        socket.getaddrinfo("service.example", 443)


async def test_an_asynchronous_connection_to_another_machine_raises() -> None:
    with pytest.raises(RuntimeError, match="is not on this machine"):
        await asyncio.open_connection("192.0.2.1", 443)


async def test_a_connection_to_this_machine_goes_through() -> None:
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
    async with server:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        assert await reader.read() == b""
        writer.close()
