"""Undo runs, step by step, and tell those who watch them (R20)."""

from domain.background_tasks import Task
from domain.undo.step import step
from jobs.reactions import Context, publish


async def undo_runs(ctx: Context, task: Task) -> bool:
    """One step of an undo: up to 500 outcomes of one run."""
    goes_on, undone = await step(task)
    await publish(ctx, undone)
    return goes_on
