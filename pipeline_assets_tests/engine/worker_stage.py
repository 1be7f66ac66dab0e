"""A stage whose items do to their worker what their name says; every call is written down."""

import logging
import os
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import sqlalchemy as sa

from pipeline_assets.core.rows import Made, Outcome, Work
from pipeline_assets.core.stage import Rung, Stage
from pipeline_assets.errors import InvalidInput, StorageError
from pipeline_assets.state.leases import leases
from pipeline_assets_tests.lengths import HANG_S

NAME = "items.name"
EXIT_CODE = 9
ILLEGAL_ACCESS = "CUDA error: an illegal memory access was encountered"
FULL = StorageError("/data/blobs/pack.tar", "No space left on device")

log = logging.getLogger(__name__)


def loud(resources: Any, works: Sequence[Work]) -> list[Outcome]:
    """The name in capitals, unless it is an order."""
    _write_down(resources.data, "loud", works)
    for work in works:
        _obey(resources, work[NAME])
    return [
        InvalidInput("it is refused") if work[NAME] == "refused" else Made((work[NAME].upper(),))
        for work in works
    ]


def remembered(_resources: Any, works: Sequence[Work]) -> list[Made | None]:
    """Nothing, unless looking for it is the end."""
    if any(work[NAME] == "die before the call" for work in works):
        os._exit(EXIT_CODE)
    if any(work[NAME] == "hang before the call" for work in works):
        signal.pause()
    return [None] * len(works)


def soon_for_those_that_hang(_resources: Any, works: Sequence[Work]) -> float:
    """A second; the others have all the time of a slow machine."""
    return 1.0 if any(work[NAME].startswith("hang") for work in works) else HANG_S


def quiet(resources: Any, works: Sequence[Work]) -> list[Outcome]:
    """The name as it is."""
    _write_down(resources.data, "quiet", works)
    return [Made((work[NAME],)) for work in works]


def calls(data: Path) -> list[tuple[str, list[str]]]:
    """Every call so far: the rung and its items."""
    lines = (data / "calls").read_text(encoding="utf-8").splitlines()
    return [(rung, items) for rung, *items in map(str.split, lines)]


def _write_down(data: Path, rung: str, works: Sequence[Work]) -> None:
    with (data / "calls").open("a", encoding="utf-8") as file:
        file.write(" ".join([rung, *(work.id[0] for work in works)]) + "\n")


def _obey(resources: Any, order: str) -> None:
    first = not order.endswith("once") or _first_time(resources.data / order.replace(" ", "-"))
    if first and order in ORDERS:
        ORDERS[order](resources)


def _exit(_resources: Any) -> None:
    os._exit(EXIT_CODE)


def _die(number: signal.Signals) -> None:
    os.kill(os.getpid(), number)


def _lose_the_context(_resources: Any) -> None:
    raise RuntimeError(ILLEGAL_ACCESS)


def _full_disk(_resources: Any) -> None:
    raise FULL


def _be_taken_over(resources: Any) -> None:
    with resources.state.transaction() as connection:
        connection.execute(sa.update(leases).values(token=leases.c.token + 1))


def _speak(_resources: Any) -> None:
    log.warning("spoken by %s", "a worker")
    log.info("whispered")


ORDERS: dict[str, Callable[[Any], None]] = {
    "exit": _exit,
    "segfault": lambda _resources: _die(signal.SIGSEGV),
    "die once": lambda _resources: _die(signal.SIGKILL),
    "hang": lambda _resources: signal.pause(),
    "lose the context": _lose_the_context,
    "lose the context once": _lose_the_context,
    "full disk": _full_disk,
    "be taken over": _be_taken_over,
    "speak": _speak,
}


def _first_time(marker: Path) -> bool:
    try:
        marker.touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


STAGE = Stage(
    name="shouted",
    description="Names in capitals.",
    values=(pa.field("shout", pa.string()),),
    required=("shout",),
    rungs=(
        Rung(
            name="loud",
            factor=1.0,
            call=loud,
            recall=remembered,
            reads=(NAME,),
            producer=lambda _resources: "loud/1",
            deadline_s=soon_for_those_that_hang,
        ),
        Rung(
            name="quiet",
            factor=0.5,
            call=quiet,
            reads=(NAME,),
            producer=lambda _resources: "quiet/1",
        ),
    ),
    skip_factor=0.1,
    micro_batch=4,
)
