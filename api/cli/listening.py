"""The port that the API answers on, taken before anything is started."""

import os
import socket

from api.cli.failures import CannotRun

BACKLOG = 2048


def listen(host: str, port: int) -> socket.socket:
    """Listen on the port, or tell that another program does."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except socket.gaierror as error:
        raise CannotRun(
            f"{host} is no address of this machine ({error.strerror}). Choose another with --host."
        ) from None
    except OSError as error:
        advice = "Choose another address with --host, or another port with --port (0: any free one)."
        # Its own text repeats the address.
        reason = os.strerror(error.errno or 0)
        raise CannotRun(f"Cannot listen on {host}, port {port} ({reason}). {advice}") from None


def address(listener: socket.socket) -> str:
    """Where a client on this machine reaches it, as `http://127.0.0.1:8000`."""
    host, port = listener.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104  where we listen, not what we choose
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
