"""Cancel what a task does at each of the moments at which it waits, one after the other."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Generator
from itertools import count
from types import coroutine
from typing import Any

Work = Coroutine[Any, Any, object]


async def at_each_moment(work: Callable[[int], Work]) -> AsyncIterator[int]:
    """Do `work` again and again: cancelled the first time that it waits, then the second, … until it gets through.

    It is given the number of the moment, which is yielded when it has been cancelled then. All is done in one task.
    """
    for number in count():
        try:
            await _cancelled_at(work(number), number)
        except asyncio.CancelledError:
            _this_task().uncancel()
            yield number
        else:
            return


@coroutine
def _cancelled_at(work: Work, number: int) -> Generator[Any, None, None]:
    error: BaseException | None = None
    for moment in count():
        try:
            waited_for = work.throw(error) if error else work.send(None)
        except StopIteration:
            return
        if moment == number:
            _this_task().cancel()
        try:
            yield waited_for
        except BaseException as raised:  # noqa: BLE001  whatever it is, it is for `work`
            error = raised
        else:
            error = None


def _this_task() -> asyncio.Task[Any]:
    task = asyncio.current_task()
    assert task is not None
    return task
