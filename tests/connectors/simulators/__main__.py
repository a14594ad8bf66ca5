"""A simulator as a server on this machine: what `sluice demo --service KEY` connects.

Once it listens it prints one line of JSON: what is needed to connect, and what a whole import comes to. It ends with
its parent, whose end closes its standard input. `POST /simulator/add?email=…`, `/simulator/change?id=…`,
`/simulator/remove?id=…`, `/simulator/revoke` and `/simulator/expire` make things happen at the service.
"""

import argparse
import json
import os
import random
import socket
import threading
from collections.abc import Iterator
from itertools import product
from typing import Any

import uvicorn
from anyascii import anyascii
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route

from api.sample_service import DOMAINS, FIRST_NAMES, LAST_NAMES
from domain.emails import parse_email
from tests.connectors.simulators import SIMULATORS
from tests.connectors.simulators.kit import CLIENT_ID, CLIENT_SECRET, Simulator

WITHOUT_ADDRESS = 30
"""One of so many people has none."""


def addresses(count: int) -> Iterator[str | None]:
    """Those of invented people, the same ones each time; the simulators read names from them."""
    names = [f"{_word(first)}.{_word(last)}" for first, last in product(FIRST_NAMES, LAST_NAMES)]
    random.Random(1).shuffle(names)
    for number in range(count):
        again, place = divmod(number, len(names))
        more = f".{number}" if again >= len(DOMAINS) else ""
        address = f"{names[place]}{more}@{DOMAINS[again % len(DOMAINS)]}"
        yield None if (number + 1) % WITHOUT_ADDRESS == 0 else address


def _word(name: str) -> str:
    return "-".join("".join(filter(str.isalnum, part)) for part in anyascii(name).lower().split())


def populated(service: str, count: int) -> Simulator:
    """The simulator of a service with so many invented people."""
    simulator = SIMULATORS[service](0)
    for address in addresses(count):
        simulator.add(address)
    return simulator


def described(simulator: Simulator) -> dict[str, Any]:
    """What is needed to connect it, and what a whole import comes to, by the counts of `SampleBook`."""
    found = list(simulator.matching().values())
    keys = [email.key for address in found if address and (email := parse_email(address))]
    without = sum(not address for address in found)
    return {
        "origins": list(simulator.origins),
        "credentials": simulator.credentials,
        "criteria": simulator.criteria,
        "client_id": CLIENT_ID,
        "client_secret": CLIENT_SECRET,
        "people": {
            "cards": len(found),
            "without_email": without,
            "invalid_email": len(found) - without - len(keys),
            "duplicates": len(keys) - len(set(keys)),
        },
    }


def served(simulator: Simulator) -> Starlette:
    """The simulator, and what makes things happen at it."""

    def happen(request: Request) -> Response:
        asked = request.query_params
        match request.path_params["what"]:
            case "add":
                return JSONResponse({"id": simulator.add(asked.get("email"))})
            case "change" if asked.get("id") in simulator.matching():
                simulator.change(asked["id"])
            case "remove" if asked.get("id") in simulator.matching():
                simulator.remove(asked["id"])
            case "revoke":
                simulator.revoke()
            case "expire":
                simulator.expire_checkpoints()
            case _:
                return JSONResponse({"error": "there is no such person, or nothing of this name can happen"}, 404)
        return JSONResponse({})

    return Starlette(routes=[Route("/simulator/{what}", happen, methods=["POST"]), Mount("/", simulator.traffic)])


def _end_with_parent() -> None:
    os.read(0, 1)
    os._exit(0)


def main() -> None:
    """Serve until the parent ends."""
    options = argparse.ArgumentParser(prog="python -m tests.connectors.simulators", description=__doc__)
    options.add_argument("--service", required=True, choices=sorted(SIMULATORS))
    options.add_argument("--port", type=int, default=0, help="on 127.0.0.1; 0 for any that is free")
    options.add_argument("--people", type=int, default=1200)
    given = options.parse_args()
    threading.Thread(target=_end_with_parent, daemon=True).start()
    simulator = populated(given.service, given.people)
    simulator.traffic.forgets = True
    with socket.create_server(("127.0.0.1", given.port)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        print(json.dumps({"url": url, **described(simulator)}), flush=True)
        config = uvicorn.Config(served(simulator), log_level="warning", access_log=False, proxy_headers=False)
        uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main()
