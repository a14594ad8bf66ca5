"""What the user is told: progress and failures go to standard error, so that standard output can be piped."""

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec

import typer
from pydantic import ValidationError

from api.embedded import EmbeddedError
from api.sample_service import SampleServiceError
from domain.errors import SluiceError

P = ParamSpec("P")


class CannotRun(Exception):
    """The command cannot do its work here; the message says what to do."""


def say(text: str) -> None:
    """Tell the user what is going on."""
    typer.echo(text, err=True)


def explained(command: Callable[P, None]) -> Callable[P, None]:
    """`command`, whose expected failures end it with their message and status 1 instead of a traceback."""

    @wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            command(*args, **kwargs)
        except ValidationError as error:
            # Of the settings: no other model is read here.
            for problem in error.errors(include_url=False, include_input=False):
                name = f"SLUICE_{'_'.join(str(part) for part in problem['loc'])}".upper()
                say(f"{name} is not usable: {problem['msg']}.")
            raise typer.Exit(1) from None
        except (CannotRun, EmbeddedError, SampleServiceError, SluiceError) as error:
            say(str(error))
            raise typer.Exit(1) from None

    return run
