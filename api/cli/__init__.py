"""The `sluice` command. A composition root."""

import typer

from api.cli.create_token import create_token
from api.cli.demo import demo
from api.cli.failures import explained
from api.cli.keys import new, rotate
from api.cli.migrate import migrate
from api.cli.schema import schema
from api.cli.serve import serve
from api.cli.up import up
from api.cli.worker import worker

__all__ = ["app"]

app = typer.Typer(
    name="sluice",
    help="Keeps a marketing team's contacts up to date by itself: automatic imports, over GraphQL.",
    epilog="To look around: sluice demo. For real use on one machine: sluice up. On several: migrate, serve, worker.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (demo, up, serve, worker, migrate, schema):
    app.command()(explained(command))

token = typer.Typer(help="Tokens that let programs in.", no_args_is_help=True)
token.command("create")(explained(create_token))
app.add_typer(token, name="token")

keys = typer.Typer(help="The keys that encrypt what is stored of services.", no_args_is_help=True)
for command in (new, rotate):
    keys.command()(explained(command))
app.add_typer(keys, name="keys")
