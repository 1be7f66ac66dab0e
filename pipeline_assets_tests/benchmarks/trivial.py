"""A stage that does next to nothing, so that bookkeeping is left: one row in ten falls back."""

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from pipeline_assets.core.rows import Made, Outcome, Work
from pipeline_assets.core.stage import Rung, Stage
from pipeline_assets.errors import InvalidInput

NAME = "items.name"


def upper(_resources: Any, works: Sequence[Work]) -> list[Outcome]:
    """The name in capitals; every tenth is refused."""
    return [
        InvalidInput("its number ends in 0")
        if work[NAME].endswith("0")
        else Made((work[NAME].upper(),))
        for work in works
    ]


def as_it_is(_resources: Any, works: Sequence[Work]) -> list[Outcome]:
    """The name as it is."""
    return [Made((work[NAME],)) for work in works]


STAGE = Stage(
    name="trivial",
    description="Names in capitals.",
    values=(pa.field("shout", pa.string()),),
    required=("shout",),
    rungs=(
        Rung(
            name="upper",
            factor=1.0,
            call=upper,
            reads=(NAME,),
            producer=lambda _resources: "upper/1",
        ),
        Rung(
            name="as_it_is",
            factor=0.9,
            call=as_it_is,
            reads=(NAME,),
            producer=lambda _resources: "as_it_is/1",
        ),
    ),
    skip_factor=0.5,
    micro_batch=1000,
)
