"""What an automatic import would do, found out by reading without writing (R21).

requests: what is asked for, and what it came to · imagined: the ledger and the contacts as they would be · tally,
effect: what that adds up to, for the contact limit and for the cap · forecast: page after page, exact as far as memory
goes · filling: the preview's row, step by step.
"""

from domain.previews.filling import GIVEN_UP, Source, complete, fail, fail_given_up, keep, open_source, tell
from domain.previews.forecast import Forecast, begin
from domain.previews.requests import ImportPreviewRow, LimitEffect, PreviewRequest, by_ids, request

__all__ = [
    "GIVEN_UP",
    "Forecast",
    "ImportPreviewRow",
    "LimitEffect",
    "PreviewRequest",
    "Source",
    "begin",
    "by_ids",
    "complete",
    "fail",
    "fail_given_up",
    "keep",
    "open_source",
    "request",
    "tell",
]
