"""An embedded Redis: one Unix socket, no TCP."""

from pathlib import Path

from api.embedded.binaries import find_redis
from api.embedded.placement import Place, make
from api.embedded.process import Server

SOCKET = "redis.sock"


def prepare(place: Place, sockets: Path, lock: int, *, durable: bool) -> Server:
    """The server, not started yet."""
    directory = place.data / "redis"
    make(directory, 0o700, place.user)
    settings = {
        "port": "0",
        "unixsocket": str(sockets / SOCKET),
        "unixsocketperm": "700",
        "dir": str(directory),
        # A queue must not forget what it was told: it refuses instead.
        "maxmemory-policy": "noeviction",
        "save": "",
        "appendonly": "yes" if durable else "no",
        "daemonize": "no",
    }
    return Server(
        name="Redis",
        command=[find_redis(place.user), *(part for name, value in settings.items() for part in (f"--{name}", value))],
        user=place.user,
        socket=sockets / SOCKET,
        log=place.data / "redis.log",
        lock=lock,
        stop_signal="TERM",
        question=b"PING\r\n",
        answer=b"+PONG",
    )


def url(sockets: Path) -> str:
    """Its URL; `?db=1` after it names another database."""
    return f"unix://{sockets / SOCKET}"
