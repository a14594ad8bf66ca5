"""Bulk operations of the simulated shop, and the host where their files lie."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from tests.connectors.simulators.shopify_people import moment_text

STORAGE = "https://storage.googleapis.com"
SIGNATURE = "s3cret-signature"


@dataclass(slots=True, kw_only=True)
class Bulks:
    """The operations by id, and switches, each off as Shopify ordinarily behaves.

    `polls` until an operation ends, `status` and `error` in which it does, `others_running` starts that are refused
    because of it, `refused` for what is wrong with the query, `are_unknown` when asked for, `file_status`,
    `file_has_no_ranges`, `loses_a_line`. A file holds what was true when its operation was started.
    """

    polls: int = 1
    status: str = "COMPLETED"
    error: str | None = None
    others_running: int = 0
    refused: bool = False
    are_unknown: bool = False
    file_status: int = 200
    file_has_no_ranges: bool = False
    loses_a_line: bool = False
    known: dict[str, dict[str, Any]] = field(default_factory=dict)

    def expire(self) -> None:
        """Seven days go by."""
        for each in self.known.values():
            each["status"] = "EXPIRED"

    def refusal(self) -> dict[str, Any] | None:
        """What keeps an operation from being started."""
        if self.refused:
            return _refused("INVALID", "Invalid bulk query.")
        if not self.others_running:
            return None
        self.others_running -= 1
        return _refused("OPERATION_IN_PROGRESS", "A bulk query operation is already in progress.")

    def start(self, nodes: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """Start one whose file will hold these."""
        kept = nodes[:-1] if self.loses_a_line else nodes
        bulk_id = f"gid://shopify/BulkOperation/{len(self.known) + 1}"
        self.known[bulk_id] = {
            "id": bulk_id,
            "status": "CREATED",
            "polls": self.polls,
            "file": b"".join(json.dumps(node).encode() + b"\n" for node in kept),
            "objectCount": str(len(nodes)),
            "rootObjectCount": str(len(nodes)),
            "createdAt": moment_text(datetime.now(UTC)),
        }
        return {"bulkOperation": self.known[bulk_id], "userErrors": []}

    def poll(self, bulk_id: str) -> dict[str, Any] | None:
        """Look how far one is, which brings it on."""
        bulk = self.known.get(bulk_id)
        if bulk is None or self.are_unknown:
            return None
        if bulk["status"] in {"CREATED", "RUNNING"}:
            bulk["polls"] -= 1
            bulk["status"] = "RUNNING" if bulk["polls"] >= 0 else self.status
        if bulk["status"] in {"COMPLETED", "FAILED"}:
            address = f"{STORAGE}/shopify-bulk/{bulk_id.rpartition('/')[2]}.jsonl?signature={SIGNATURE}"
            name = "url" if bulk["status"] == "COMPLETED" else "partialDataUrl"
            bulk |= {name: address if bulk["file"] else None, "fileSize": str(len(bulk["file"]))}
            bulk |= {"errorCode": self.error, "completedAt": moment_text(datetime.now(UTC))}
        return bulk

    async def file(self, request: Request) -> Response:
        if "X-Shopify-Access-Token" in request.headers:
            return Response("a token that is none of our business", status_code=400)
        if request.query_params.get("signature") != SIGNATURE or self.file_status != 200:
            return Response("<Error><Code>ExpiredToken</Code></Error>", status_code=max(self.file_status, 400))
        name = request.path_params["name"].removesuffix(".jsonl")
        whole: bytes = self.known[f"gid://shopify/BulkOperation/{name}"]["file"]
        asked = re.fullmatch(r"bytes=(\d+)-(\d+)", request.headers.get("Range", ""))
        if asked is None or self.file_has_no_ranges:
            return Response(whole, media_type="application/jsonl")
        start, end = int(asked[1]), min(int(asked[2]), len(whole) - 1)
        if start >= len(whole):
            return Response(status_code=416, headers={"Content-Range": f"bytes */{len(whole)}"})
        headers = {"Content-Range": f"bytes {start}-{end}/{len(whole)}"}
        return Response(whole[start : end + 1], status_code=206, headers=headers, media_type="application/jsonl")


def _refused(code: str, message: str) -> dict[str, Any]:
    return {"bulkOperation": None, "userErrors": [{"code": code, "message": message}]}
