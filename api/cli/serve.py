"""`sluice serve`: the API process."""

import asyncio
import socket
from contextlib import suppress
from typing import Annotated

import typer
import uvicorn

from api.cli.failures import CannotRun, say
from api.cli.listening import address, listen
from api.cli.options import Host, Port
from api.cli.preflight import check_everything
from domain.logs import configure_logging

APP = "api.app:build"
STOP_SECONDS = 5
"""How long requests and streams under way may take to end."""


def serve(
    host: Host = "127.0.0.1",
    port: Port = 8000,
    fd: Annotated[
        int | None, typer.Option(help="Answer on this inherited listening socket instead.", min=3, hidden=True)
    ] = None,
) -> None:
    """Answer GraphQL over HTTP, WebSocket and SSE, until SIGTERM.

    Reads SLUICE_DATABASE_URL, SLUICE_REDIS_URL and SLUICE_SECRET_KEYS. Run as many as you like.
    """
    with socket.socket(fileno=fd) if fd is not None else listen(host, port) as listener:
        asyncio.run(check_everything())
        configure_logging()
        config = uvicorn.Config(
            APP,
            factory=True,
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=STOP_SECONDS,
        )
        server = uvicorn.Server(config)
        if fd is None:
            say(f"Answering at {address(listener)}/graphql")
        with suppress(KeyboardInterrupt):
            server.run(sockets=[listener])
    if not server.started:
        raise CannotRun("The API did not start: its log tells why.")
