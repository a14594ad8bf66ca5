"""The peer: dlt's rest_api source, merged into the same PostgreSQL. A process of its own, it prints JSON.

`python -m tests.benchmarks.dlt_import DATABASE_URL SOURCE_URL`. Three runs, with the pipeline's own state:
everything into an empty table, everything again, and an incremental run that finds nothing new.

Settings: strategy `upsert` (one MERGE instead of DELETE and INSERT), COPY from CSV files, larger buffers, telemetry
off, and one normalize worker, which then is this process: like Sluice's side, one process beside PostgreSQL.
Strategy, file format, file size and two workers were compared once, on a busy machine, too roughly to call these
the fastest: for the first import `insert_values` and two workers each came out ahead. Imports and making
the pipeline are not counted.
"""

import json
import os
import resource
import sys
import tempfile
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

SETTINGS = {
    "RUNTIME__DLTHUB_TELEMETRY": "false",
    "RUNTIME__LOG_LEVEL": "ERROR",
    "DATA_WRITER__BUFFER_MAX_ITEMS": "20000",
    "NORMALIZE__LOADER_FILE_FORMAT": "csv",
    "NORMALIZE__WORKERS": "1",
    "NORMALIZE__DATA_WRITER__FILE_MAX_ITEMS": "50000",
}
os.environ.update(SETTINGS)

import dlt  # noqa: E402  it reads its settings from the environment
from dlt.destinations import postgres  # noqa: E402
from dlt.sources.rest_api import rest_api_source  # noqa: E402

from tests.benchmarks.measure import Cost, Meter  # noqa: E402

IDLE_RUNS = 5


def _source(url: str, *, incremental: bool) -> Any:
    endpoint: Any = {
        "path": "contacts",
        "data_selector": "contacts",
        "paginator": {"type": "json_link", "next_url_path": "next"},
    }
    if incremental:
        since = {"cursor_path": "updated_at", "initial_value": "2000-01-01T00:00:00Z", "range_start": "open"}
        endpoint["incremental"] = {"start_param": "since", **since}
    return rest_api_source(
        {
            "client": {"base_url": url},
            "resources": [
                {
                    "name": "contacts",
                    "primary_key": "id",
                    "write_disposition": {"disposition": "merge", "strategy": "upsert"},
                    "endpoint": endpoint,
                }
            ],
        }
    )


def _credentials(database_url: str) -> str:
    """The URL with the socket's directory as its host, which is where dlt looks for one."""
    parts = urlsplit(database_url)
    directory = parse_qs(parts.query).get("host")
    if directory is None:
        return database_url
    user = parts.netloc.rpartition("@")[0]
    return f"postgresql://{user}@{quote(directory[0], safe='')}{parts.path}"


def _pipeline(database_url: str, name: str, directory: str) -> dlt.Pipeline:
    destination = postgres(credentials=_credentials(database_url))
    return dlt.pipeline(pipeline_name=name, destination=destination, dataset_name=name, pipelines_dir=directory)


def _measured(meter: Meter, pipeline: dlt.Pipeline, source: Any) -> Cost:
    with meter.measuring() as cost:
        pipeline.run(source)
    return cost


def main(database_url: str, url: str) -> None:
    """Run the three, and print their figures."""
    meter = Meter(database_url)
    figures = {}
    with tempfile.TemporaryDirectory() as directory:
        whole = _pipeline(database_url, "bench_whole", directory)
        figures["first"] = _measured(meter, whole, _source(url, incremental=False))
        figures["again"] = _measured(meter, whole, _source(url, incremental=False))
        with whole.sql_client() as client:
            counted = client.execute_sql("SELECT count(*) FROM contacts")
        changes = _pipeline(database_url, "bench_changes", directory)
        changes.run(_source(url, incremental=True))
        idle = [_measured(meter, changes, _source(url, incremental=True)) for _ in range(IDLE_RUNS)]
        figures["idle"] = {key: sorted(run[key] for run in idle)[IDLE_RUNS // 2] for key in idle[0]}
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({**figures, "rows": counted[0][0] if counted else 0, "memory": memory}))


if __name__ == "__main__":
    main(*sys.argv[1:])
