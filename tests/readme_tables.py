"""The README's table of services, as the registry has them: `uv run poe readme` writes it."""

import re
import sys
from pathlib import Path

from connectors.base import Service
from connectors.registry import SERVICES

README = Path(__file__).parent.parent / "README.md"
HEADER = "| key | service | category | connect | how changes are found | to know |\n|---|---|---|---|---|---|\n"
TABLE = re.compile(r"(?<=\n)\| key \| service \|.*?\n(?=[^|])", re.DOTALL)


def services_table() -> str:
    """One row a service, by name."""
    return HEADER + "".join(_row(service) for service in sorted(SERVICES.values(), key=lambda service: service.name))


def _row(service: Service) -> str:
    ways = [("OAUTH", service.authorization), ("FORM", service.form)]
    connect = ", ".join(way for way, model in ways if model is not None)
    cells = [f"`{service.key}`", service.name, service.category.value, connect, _changes(service), service.notice or ""]
    return f"| {' | '.join(cells)} |\n"


def _changes(service: Service) -> str:
    """The first sentence of what the connector's docstring says of its change source."""
    document = sys.modules[service.connect.__module__].__doc__ or ""
    told = re.search(r"^\* Change source: (.+?)\.(?=\s)", document, re.DOTALL | re.MULTILINE)
    if told is None:
        raise ValueError(f"the docstring of {service.key}'s connector has no line `* Change source: …`")
    return re.sub(r"\s+\(.*?\)", "", " ".join(told[1].split()))


def main() -> None:
    """Write the table into the README."""
    README.write_text(TABLE.sub(lambda _: services_table(), README.read_text()))


if __name__ == "__main__":
    main()
