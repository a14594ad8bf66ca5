"""The import engine beside dlt, in one run: `uv run --group benchmark poe bench`, or

`uv run --group benchmark python -m tests.benchmarks.first_import [CONTACTS]` (100,000 unless given).

Both read the same pages of 500 contacts over loopback HTTP from a third process, into the same PostgreSQL, one after
the other, each as one process beside it. dlt keeps one table; Sluice its contacts, the ledger and the outcomes. Three
runs each: everything into empty tables, everything again with nothing changed, and a run that asks what changed and
finds nothing. The raw ceiling is upserts of contact and ledger fed from memory. All of it three times, in turns; of
each contestant's runs the quickest counts, since whatever else the machine does only ever slows one down. Memory is
the process's highest, with a fifth of the contacts and with all of them.
"""

import json
import subprocess
import sys
from collections.abc import Sequence
from operator import itemgetter
from typing import Any

from rich.console import Console
from rich.table import Table

from tests.benchmarks.servers import running_servers
from tests.benchmarks.source import running_source

ROUNDS = 3
TARGETS = {"first": "≥ 2", "again": "≥ 10", "ceiling": "≥ 0.5", "idle": "≤ 0.02"}


def _figures(module: str, *arguments: str) -> dict[str, Any]:
    command = [sys.executable, "-m", f"tests.benchmarks.{module}", *arguments]
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    figures: dict[str, Any] = json.loads(output.splitlines()[-1])
    return figures


def _contestants(contacts: int) -> dict[str, dict[str, Any]]:
    """Each has servers of its own: nobody finds tables that another has filled."""
    found: dict[str, list[dict[str, Any]]] = {"sluice_import": [], "dlt_import": [], "ceiling": []}
    for _ in range(ROUNDS):
        for name, runs in found.items():
            with running_servers() as stack, running_source(contacts) as url:
                runs.append(_figures(name, stack.database_url, str(contacts) if name == "ceiling" else url))
    return {name: _quickest(runs) for name, runs in found.items()}


def _quickest(runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    phases = {
        name: min((run[name] for run in runs), key=itemgetter("cpu" if name == "idle" else "seconds"))
        for name in ("first", "again", "idle")
        if name in runs[0]
    }
    return runs[0] | phases | {"memory": max(run.get("memory", 0) for run in runs)}


def _table(contacts: int, sluice: dict[str, Any], dlt: dict[str, Any], ceiling: dict[str, Any]) -> Table:
    table = Table(f"{contacts:,} contacts", "Sluice", "dlt", "raw SQL", "ratio", "target")
    for name, title in (("first", "first import"), ("again", "again, nothing changed")):
        rates = [contacts / each[name]["seconds"] for each in (sluice, dlt, ceiling)]
        table.add_row(
            f"{title}: rows/s", *(f"{rate:,.0f}" for rate in rates), f"{rates[0] / rates[1]:.2f}", TARGETS[name]
        )
        for kind, whose in (("cpu", "process"), ("database_cpu", "PostgreSQL")):
            spent = [1e6 * each[name][kind] / contacts for each in (sluice, dlt, ceiling)]
            table.add_row(
                f"  CPU of the {whose}, µs/row", *(f"{each:.1f}" for each in spent), f"{spent[1] / spent[0]:.2f}"
            )
    ratio = ceiling["first"]["seconds"] / sluice["first"]["seconds"]
    table.add_row("first import of the raw ceiling", "", "", "", f"{ratio:.2f}", TARGETS["ceiling"])
    spent = [1000 * each["idle"]["cpu"] for each in (sluice, dlt)]
    table.add_row(
        "idle run: CPU of the process, ms",
        *(f"{each:.2f}" for each in spent),
        "",
        f"{spent[0] / spent[1]:.3f}",
        TARGETS["idle"],
    )
    spent = [1000 * each["idle"]["seconds"] for each in (sluice, dlt)]
    table.add_row("idle run: ms", *(f"{each:.1f}" for each in spent), "", f"{spent[0] / spent[1]:.3f}")
    table.add_row("highest memory, MB", *(f"{each['memory']:.0f}" for each in (sluice, dlt)))
    return table


def main(contacts: int) -> None:
    """Print the table."""
    found = _contestants(contacts)
    assert found["sluice_import"]["rows"] == found["dlt_import"]["rows"] == contacts
    with running_servers() as stack, running_source(contacts // 5) as url:
        fewer = _figures("sluice_import", stack.database_url, url)
    console = Console()
    console.print(_table(contacts, found["sluice_import"], found["dlt_import"], found["ceiling"]))
    console.print(f"Sluice's highest memory with {contacts // 5:,} contacts: {fewer['memory']:.0f} MB")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000)
