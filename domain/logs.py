"""Logs of every process: one line an event, structured, on standard error."""

import logging
import sys
import traceback

import structlog

from domain.settings import settings

# At DEBUG and INFO these write what must not be in a log: bound values, requests' query strings, jobs' arguments.
QUIET = ("tortoise", "httpx", "httpcore", "arq", "asyncio", "uvicorn.access")


def trace(error: BaseException) -> dict[str, str]:
    """What a log may say of an unexpected error: its type and where it happened. Its text can quote values."""
    return {"error": type(error).__name__, "where": "".join(traceback.format_tb(error.__traceback__))}


def _is_no_websocket(record: logging.LogRecord) -> bool:
    """Uvicorn has no other switch for the lines in which it writes the addresses of WebSockets, queries included."""
    return '"WebSocket %s"' not in str(record.msg)


def _without_trace(record: logging.LogRecord) -> bool:
    """It says again and again that PostgreSQL is away: who asked for something logs why."""
    record.exc_info = None
    return True


def configure_logging() -> None:
    """Send structlog and the standard library's logging through one renderer, as SLUICE_LOG_FORMAT says."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    # Locals in a traceback could hold credentials: never show them.
    renderer: list[structlog.typing.Processor] = (
        [structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)]
        if settings().log_format == "console"
        else [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    )
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderer],
        )
    )
    logging.basicConfig(handlers=[handler], level=logging.INFO, force=True)
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger("uvicorn.error").addFilter(_is_no_websocket)
    logging.getLogger("asyncpg.pool").addFilter(_without_trace)
