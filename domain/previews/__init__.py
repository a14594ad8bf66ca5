"""What an automatic import would do, found out by reading without writing (R21).

requests: what is asked for · shown: what it came to · imagined: the ledger and the contacts as they would be · line,
draining: who waits for room, and comes first · deletions: who counts as deleted · tally, effect: what that adds up to ·
forecast: page after page, exact as far as memory goes · kept, filling: the task's progress and the preview's row.
"""

from domain.previews.deletions import Deletions
from domain.previews.filling import GIVEN_UP, Source, complete, fail, fail_given_up, keep, open_source, tell
from domain.previews.forecast import Forecast, begin
from domain.previews.requests import PreviewRequest, request
from domain.previews.shown import ForeseenReview, ImportPreviewRow, LimitEffect, by_ids

__all__ = [
    "GIVEN_UP",
    "Deletions",
    "Forecast",
    "ForeseenReview",
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
