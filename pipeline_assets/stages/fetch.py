"""Fetch: the bytes behind an item's URLs, into packs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa

from pipeline_assets.adapters.addresses import host_of
from pipeline_assets.adapters.blobs import BlobRef, Copy
from pipeline_assets.core.agreement import same
from pipeline_assets.core.budget import Backoff
from pipeline_assets.core.contract import TIMESTAMP
from pipeline_assets.core.rows import Made, Outcome, Work
from pipeline_assets.core.stage import Rung, Stage
from pipeline_assets.core.status import Role
from pipeline_assets.errors import RowError, UpstreamMissing

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from pipeline_assets.adapters.http import Fetched
    from pipeline_assets.resources import Resources

WAIT_AT_MOST_S = 45.0
"""Two timeouts of 20 s and the waits behind them: a resource that hangs has its three tries, and is
charged for them. No longer, since the rest of the hour waits behind: whoever asks for more time is
asked again in another run."""


def http(resources: Resources, works: Sequence[Work]) -> list[Outcome]:
    """Ask the server; each URL once, however many rows name it."""
    urls = list(dict.fromkeys(work["url"] for work in works))
    with resources.blobs.pack() as pack:
        answers = dict(zip(urls, resources.fetcher.fetch_all(urls, pack.add), strict=True))
    # The pack is sealed: the bytes are durable before any row refers to them.
    now = resources.clock()
    resources.copies.keep(
        {
            url: Copy(answer.stored, answer.content_type, now)
            for url, answer in answers.items()
            if not isinstance(answer, RowError)
        }
    )
    return [_outcome(work["url"], answers[work["url"]], now) for work in works]


def last_good_copy(resources: Resources, works: Sequence[Work]) -> list[Outcome]:
    """Answer with the bytes that the URL gave the last time."""
    found = resources.copies.find([work["url"] for work in works])
    return [_copied(resources, work["url"], found.get(work["url"])) for work in works]


def _outcome(url: str, answer: Fetched[BlobRef] | RowError, now: datetime) -> Outcome:
    if isinstance(answer, RowError):
        return answer
    validators = (answer.etag, answer.last_modified)
    return Made((url, answer.content_type, *_place(answer.stored), *validators, now))


def _copied(resources: Resources, url: str, copy: Copy | None) -> Outcome:
    if copy is None:
        return UpstreamMissing(f"there is no earlier copy of {url}")
    try:
        resources.blobs.read(copy.blob)
    except RowError as error:  # one damaged pack is not the others' loss
        return error
    return Made((url, copy.content_type, *_place(copy.blob), None, None, copy.fetched_at))


def _place(blob: BlobRef) -> tuple[str, int, int, str]:
    return blob.pack, blob.offset, blob.size, blob.sha256


def _url(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {"url": fields[f"items.{fields['role']}_url"]}


STAGE = Stage(
    name="fetched",
    description="The bytes behind each item's document and picture, in packs, by sha256.",
    values=(
        pa.field("url", pa.string()),
        pa.field("content_type", pa.string()),
        pa.field("pack", pa.string()),
        pa.field("offset", pa.int64()),
        pa.field("size", pa.int64()),
        pa.field("sha256", pa.string()),
        pa.field("etag", pa.string()),
        pa.field("last_modified", pa.string()),
        pa.field("fetched_at", TIMESTAMP),
    ),
    required=("url", "pack", "offset", "size", "sha256", "fetched_at"),
    rungs=(
        Rung(
            name="http",
            factor=1.0,
            call=http,
            reads=("url",),
            producer=lambda _resources: "http/1",
            scope=lambda work: host_of(work["url"]),
            backoff=Backoff(deadline_s=WAIT_AT_MOST_S),
        ),
        Rung(
            name="last_good_copy",
            factor=0.95,
            call=last_good_copy,
            reads=("url",),
            producer=lambda _resources: "packs/1",
        ),
    ),
    skip_factor=0.5,
    derive=_url,
    derives_from=tuple(f"items.{role}_url" for role in Role),
    applies=lambda work: work["url"] is not None,
    conditions=lambda resources: ",".join(sorted(resources.settings.fetch_allow)),
    per_resource=True,
    workers=1,
    agrees=same("sha256"),
    group="ingest",
)
