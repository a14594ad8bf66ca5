"""`python -m api.cli`: the `sluice` command of this very Python, wherever its script is."""

from api.cli import app

app(prog_name="sluice")
