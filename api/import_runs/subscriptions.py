"""Runs of automatic imports, live."""

from collections.abc import AsyncGenerator
from typing import Annotated

import strawberry

from api.context import Info, viewer
from api.import_runs.types import ImportRun
from api.node import key_of
from api.user_errors import BadUserInput
from domain import progress


@strawberry.type
class ImportRunSubscriptions:
    @strawberry.subscription(
        description="Follow one run to its end, or all runs of one automatic import until that is deleted. The present"
        " state comes first, then each change, at most four a second, the final state always. Give exactly one id."
    )
    async def import_run_progress(
        self,
        info: Info,
        run_id: Annotated[strawberry.ID | None, strawberry.argument(description="The run.")] = None,
        automatic_import_id: Annotated[
            strawberry.ID | None, strawberry.argument(description="The automatic import.")
        ] = None,
    ) -> AsyncGenerator[ImportRun, None]:
        if (run_id is None) == (automatic_import_id is None):
            raise BadUserInput("Give either `runId` or `automaticImportId`.")
        if run_id is not None:
            runs = progress.follow_run(viewer(info), key_of("ImportRun", run_id), watch=info.context.watch)
        else:
            import_key = key_of("AutomaticImport", str(automatic_import_id))
            runs = progress.follow_import(viewer(info), import_key, watch=info.context.watch)
        async for run in runs:
            yield ImportRun.of(run)

    @strawberry.subscription(
        description="Follow all runs of the account: first the last run of each automatic import, then each change, at"
        " most four a second for each run."
    )
    async def account_import_progress(self, info: Info) -> AsyncGenerator[ImportRun, None]:
        async for run in progress.follow_account(viewer(info), watch=info.context.watch):
            yield ImportRun.of(run)
