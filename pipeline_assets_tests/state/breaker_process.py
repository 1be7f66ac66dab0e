"""A process that shares a breaker with others and does what its standard input says.

Usage: python -m pipeline_assets_tests.state.breaker_process URL
"""

import sys
from typing import TYPE_CHECKING

from pipeline_assets.core.breaker import BreakerRule, Mode
from pipeline_assets.errors import Overloaded
from pipeline_assets.state.breakers import BreakerPermit, BreakerStore
from pipeline_assets.state.database import State

if TYPE_CHECKING:
    from collections.abc import Callable

NAME = "shared.rung"
TWENTY = BreakerRule(failures=5, minimum_calls=20, probes=1)
CALLS = 5


def main(url: str) -> None:
    """Take five permits, let them fail, or say what a person says; answer each line."""
    store = BreakerStore(State(url))
    permits: list[BreakerPermit] = []

    def ask() -> None:
        answers = [store.gate(TWENTY).permit(NAME, "") for _ in range(CALLS)]
        permits.extend(answer for answer in answers if isinstance(answer, BreakerPermit))

    def fail() -> None:
        for permit in permits:
            permit.failure(Overloaded("the server answered 503"), 0.0)

    acts: dict[str, Callable[[], None]] = {
        "ask": ask,
        "fail": fail,
        "force open": lambda: store.force(NAME, Mode.FORCED_OPEN),
        "disable": lambda: store.force(NAME, Mode.DISABLED),
        "reset": lambda: store.reset(NAME),
        "open": lambda: store.open_for(NAME, 3600),
    }
    for line in sys.stdin:
        acts[line.strip()]()
        sys.stdout.write(f"{line.strip()}: done\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
