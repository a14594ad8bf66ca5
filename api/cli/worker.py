"""`sluice worker`: the process that imports."""

import asyncio

from api.cli.preflight import check_everything
from jobs.worker import main


def worker() -> None:
    """Run the imports, until SIGTERM.

    Reads SLUICE_DATABASE_URL, SLUICE_REDIS_URL and SLUICE_SECRET_KEYS. Run as many as you like, on as many machines.
    """
    asyncio.run(check_everything())
    main()
