"""`sluice schema`: the GraphQL schema as text."""

import pkgutil
from pathlib import Path
from typing import Annotated

import typer

from api.cli.failures import CannotRun, say

# By name: building the schema takes as long as all the other commands need to start.
SCHEMA = "api.schema:schema"


def schema(
    output: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write it to this file instead of standard output.")
    ] = None,
) -> None:
    """Print the GraphQL schema (SDL), for code generators."""
    text = f"{pkgutil.resolve_name(SCHEMA).as_str().strip()}\n"
    if output is None:
        typer.echo(text, nl=False)
        return
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise CannotRun(f"Cannot write {output} ({error.strerror}).") from None
    say(f"Wrote {output}.")
