"""The life of the breakers, from the state database: it is in no table."""

from typing import TYPE_CHECKING

from pipeline_assets.analytics.data import Data
from pipeline_assets.commands.breakers import events

if TYPE_CHECKING:
    import pandas as pd

EVENTS = 10_000
"""The newest so many."""
COLUMNS = {"breaker": "breaker", "to": "mode", "at": "begin", "reason": "reason"}


def breaker_timeline(data: Data) -> "pd.DataFrame":
    """Which breaker was in which mode from when to when, and why; without an end: it is still.

    Before its first line a breaker was closed.
    """
    import pandas as pd  # noqa: PLC0415 - a third of a second that imports need not cost

    found = pd.DataFrame(events(data.resources, None, EVENTS), columns=list(COLUMNS))
    found = found.rename(columns=COLUMNS).sort_values(["breaker", "begin"], ignore_index=True)
    found["end"] = found.groupby("breaker")["begin"].shift(-1)
    return found[["breaker", "mode", "begin", "end", "reason"]]
