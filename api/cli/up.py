"""`sluice up`: everything on one machine, with data that is kept."""

import asyncio
from shlex import quote

from api.cli.children import api_and_worker, wait_until_ready, watch
from api.cli.environment import adopt_keys, adopt_stack
from api.cli.failures import say
from api.cli.listening import address, listen
from api.cli.migrate import bring_up_to_date
from api.cli.options import DATA, Data, Host, Port
from api.cli.stopping import until_stopped
from api.embedded import embedded_stack
from domain.settings import settings


def up(data: Data = DATA, host: Host = "127.0.0.1", port: Port = 8000) -> None:
    """Run everything on this machine, until Ctrl-C: PostgreSQL, Redis, the API and a worker.

    The data is kept. A server named by SLUICE_DATABASE_URL or SLUICE_REDIS_URL is used instead of one of its own.
    """
    configured = settings()
    database_url, redis_url = (
        url.get_secret_value() if url is not None else None for url in (configured.database_url, configured.redis_url)
    )
    with until_stopped(), listen(host, port) as listener:
        url = address(listener)
        say(f"Starting PostgreSQL and Redis on {data} …")
        adopt_keys(data)
        with embedded_stack(data, database_url=database_url, redis_url=redis_url) as stack:
            if stack.notice:
                say(stack.notice)
            adopt_stack(stack.database_url, stack.redis_url)
            applied = asyncio.run(bring_up_to_date(stack.database_url))
            if applied:
                say(f"Prepared the database: {', '.join(applied)}.")
            say("Starting the API and a worker …")
            with api_and_worker(stack.data, listener) as children:
                wait_until_ready(url, children)
                say(f"Sluice is up at {url}/graphql. Ctrl-C stops it.")
                say(f"A token to begin with: sluice token create --account NAME --data {quote(str(data))}")
                watch(children, [server for server in (stack.postgres, stack.redis) if server])
