"""Fetch: the bytes behind an item's URLs, into packs."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from pipeline_assets.core.agreement import same
from pipeline_assets.core.budget import Backoff
from pipeline_assets.core.contract import TIMESTAMP
from pipeline_assets.core.rows import Made, Outcome, Work
from pipeline_assets.core.stage import CALL_DEADLINE_S, Rung, Stage
from pipeline_assets.core.status import Role
from pipeline_assets.errors import Blocked, RowError, UpstreamMissing
from pipeline_assets.fetch.addresses import host_of, shown
from pipeline_assets.fetch.fetcher import PROCESSES, Fetched, Unchanged
from pipeline_assets.fetch.packing import Packing
from pipeline_assets.store.blobs import BlobRef, UrlCopy
from pipeline_assets.store.validators import NO_VALIDATORS, Validators

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from pipeline_assets.resources import Resources

    Answer = Fetched[str] | Unchanged | RowError

WAIT_AT_MOST_S = 45.0
"""Two timeouts of 20 s and the waits behind them: a resource that hangs has its three tries, and is
charged for them. No longer, since the rest of the hour waits behind: whoever asks for more time is
asked again in another run."""


def http(resources: Resources, works: Sequence[Work]) -> list[Outcome]:
    """Ask the server; each URL once, however many rows name it, and only for what has changed."""
    urls = list(dict.fromkeys(work["url"] for work in works))
    known = resources.copies.find(urls)
    with resources.blobs.pack() as pack:
        packing = Packing(pack, resources.copies, resources.blobs)
        answers = _answers(resources, packing, urls, known)
        places = packing.places()
    # The pack is sealed: the bytes are durable before any row refers to them.
    now = resources.clock()
    copies = {
        url: _copy(answer, places, known.get(url), now)
        for url, answer in answers.items()
        if not isinstance(answer, RowError)
    }
    resources.copies.keep(copies)
    resources.copies.drop(url for url, answer in answers.items() if isinstance(answer, Blocked))
    outcomes: dict[str, Outcome] = {
        url: answer for url, answer in answers.items() if isinstance(answer, RowError)
    }
    outcomes |= {url: _made(url, copy, copy.validators) for url, copy in copies.items()}
    return [outcomes[work["url"]] for work in works]


def longest(resources: Resources, works: Sequence[Work]) -> float:
    """The most seconds that a call may take: when each resource ends at its own deadline.

    They wait for a connection to their host, of which each process has its share, and for what the
    host's rate admits.
    """
    settings = resources.settings
    connections = max(1, min(settings.fetch_per_host, settings.fetch_concurrency) // PROCESSES)
    seconds = CALL_DEADLINE_S + len(works) * settings.fetch_timeout_s / connections
    for host, asked in Counter(host_of(work["url"]) for work in works).items():
        rate = settings.fetch_host_rate.get(host, settings.fetch_rate)
        if rate is not None:
            seconds += asked * PROCESSES / rate
    return seconds


def last_good_copy(resources: Resources, works: Sequence[Work]) -> list[Outcome]:
    """Answer with the bytes that the URL gave the last time, and say how old they are."""
    found = resources.copies.find([work["url"] for work in works])
    return [_copied(resources, work["url"], found.get(work["url"])) for work in works]


def _answers(
    resources: Resources, packing: Packing, urls: Sequence[str], known: Mapping[str, UrlCopy]
) -> dict[str, Answer]:
    """What became of each URL. What has not changed, but is lost to us, is asked for once more."""
    validators = {url: copy.validators for url, copy in known.items()}
    fetch_all = resources.fetcher.fetch_all
    answers = dict(zip(urls, fetch_all(urls, packing.add, validators), strict=True))
    lost = [
        url
        for url, answer in answers.items()
        if isinstance(answer, Unchanged) and not resources.blobs.holds(known[url].blob)
    ]
    if lost:
        answers |= zip(lost, fetch_all(lost, packing.add), strict=True)
    return answers


def _copy(
    answer: Fetched[str] | Unchanged,
    places: Mapping[str, BlobRef],
    known: UrlCopy | None,
    now: datetime,
) -> UrlCopy:
    if isinstance(answer, Fetched):
        validators = Validators(answer.etag, answer.last_modified, answer.url)
        return UrlCopy(places[answer.stored], answer.content_type, now, validators)
    if known is None:
        raise LookupError(f"{shown(answer.url)}: unchanged since nothing")
    return UrlCopy(
        known.blob,
        answer.content_type or known.content_type,
        now,
        Validators(
            answer.validators.etag or known.validators.etag,
            answer.validators.last_modified or known.validators.last_modified,
            answer.url,
        ),
    )


def _copied(resources: Resources, url: str, copy: UrlCopy | None) -> Outcome:
    if copy is None:
        return UpstreamMissing(f"there is no earlier copy of {url}")
    try:
        resources.blobs.read(copy.blob)
    except RowError as error:  # one damaged pack is not the others' loss
        return error
    made = _made(url, copy, NO_VALIDATORS)
    return replace(made, remark=_age(copy.fetched_at, resources.clock()))


def _age(fetched_at: datetime, now: datetime) -> str:
    age = max(now - fetched_at, timedelta())
    hours, minutes = divmod(age.seconds // 60, 60)
    said = f"{age.days} d {hours} h" if age.days else f"{hours} h {minutes} min"
    return f"the copy of {fetched_at:%Y-%m-%d %H:%M} UTC stands in, {said} old"


def _made(url: str, copy: UrlCopy, validators: Validators) -> Made:
    blob = copy.blob
    place = (blob.pack, blob.offset, blob.size, blob.sha256)
    said = (validators.etag, validators.last_modified)
    return Made((url, copy.content_type, *place, *said, copy.fetched_at))


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
    meanings={
        "url": "what was fetched",
        "content_type": "what the server says that it is",
        "pack": "the blob pack that its bytes are in",
        "offset": "where in the pack they begin",
        "size": "how many bytes there are",
        "sha256": "the hash of the bytes",
        "etag": "the server's name for this version, where it has one",
        "last_modified": "when it last changed, as the server says",
        "fetched_at": "when the server gave these bytes; older than the row for an earlier copy",
    },
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
            deadline_s=longest,
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
    conditions=lambda resources: ",".join(
        sorted((*resources.settings.fetch_allow, *map(str, resources.settings.fetch_s3)))
    ),
    per_resource=True,
    workers=PROCESSES,
    agrees=same("sha256"),
    group="ingest",
)
