"""A process that works on an hour with a provider that bills, and may die after an answer.

Usage: python -m pipeline_assets_tests.engine.billing_process DATA URL DIE_AFTER
"""

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pyarrow as pa

from pipeline_assets.core.budget import Backoff
from pipeline_assets.core.rows import Made, Outcome, Work
from pipeline_assets.core.stage import Rung, Stage
from pipeline_assets.engine.engine import materialize
from pipeline_assets.engine.orders import Order, Report
from pipeline_assets.errors import from_http_status
from pipeline_assets.resources import Resources
from pipeline_assets.settings import load_settings
from pipeline_assets_tests.conftest import HOUR, HOUR_START

NAME = "items.name"
BATCH = 4
DIED = 9
NEVER = 0


@dataclass
class Provider:
    """The other side, as a rung sees it; this process dies after so many answers."""

    url: str
    die_after: int = NEVER
    answers: int = 0

    def __call__(self, _resources: Any, works: Sequence[Work]) -> list[Outcome]:
        """A request for each row, under its key."""
        return [self._asked(work) for work in works]

    def _asked(self, work: Work) -> Outcome:
        headers = {"Idempotency-Key": work.key or ""}
        request = Request(self.url, work[NAME].encode(), headers)  # noqa: S310 - our own server
        try:
            with urlopen(request) as response:  # noqa: S310 - the same
                text = response.read().decode()
        except HTTPError as error:
            return from_http_status(error.code, "the provider")
        self.answers += 1
        if self.answers == self.die_after:
            os._exit(DIED)
        return Made((text,))


def billed_stage(provider: Provider) -> Stage:
    """A stage with one rung, which costs."""
    return Stage(
        name="billed",
        description="What a provider says of a name.",
        values=(pa.field("said", pa.string()),),
        required=("said",),
        rungs=(
            Rung(
                name="provider",
                factor=1.0,
                call=provider,
                reads=(NAME,),
                producer=lambda _resources: "provider/1",
                backoff=Backoff(first_s=0.0),
                keyed=True,
                cost_usd=0.01,
            ),
        ),
        skip_factor=0.5,
        retry_usd=0.03,
        micro_batch=BATCH,
    )


def open_data(data: Path) -> Resources:
    """The data root, worked on in this process."""
    feed = str(data / "feed.csv")
    return Resources(load_settings(data=data, feed=feed, start=HOUR_START, workers=0))


def run(data: Path, provider: Provider) -> Report:
    """Bring the stage up to date."""
    resources = open_data(data)
    try:
        stage = billed_stage(provider)
        return materialize(Order(stage.name, HOUR, "run"), resources, stage=stage)
    finally:
        resources.close()


if __name__ == "__main__":
    run(Path(sys.argv[1]), Provider(sys.argv[2], int(sys.argv[3])))
