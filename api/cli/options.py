"""The options that several commands share."""

from pathlib import Path
from typing import Annotated, TypeAlias

import typer

Host: TypeAlias = Annotated[str, typer.Option(help="The address to listen on; 0.0.0.0 is every one of this machine.")]
Port: TypeAlias = Annotated[
    int, typer.Option(min=0, max=65535, help="The port to listen on; 0 chooses a free one and prints it.")
]
Data: TypeAlias = Annotated[Path, typer.Option(metavar="DIR", help="Where PostgreSQL, Redis, logs and keys are kept.")]

DATA = Path(".sluice")
