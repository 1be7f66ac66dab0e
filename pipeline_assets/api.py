"""What a stage of one's own and a code location of one's own are written with.

Everything that is named here keeps its name and meaning; all else in the package may move. To
import it loads neither Dagster nor a model, since worker processes import the modules of stages.

A stage is data: a `Stage` with a tuple of `Rung`s, best first. A rung is a function over a batch,
`(resources, works) → outcomes`, with one `Outcome` for each `Work`, in order: `Made`, or the error
of that row. An error that is raised is the whole call's. `docs/adding-a-stage.md` shows it.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pipeline_assets.core.agreement import row_by_row, same, same_words
from pipeline_assets.core.breaker import BreakerRule
from pipeline_assets.core.budget import Backoff
from pipeline_assets.core.fingerprint import tool
from pipeline_assets.core.rows import Made, Outcome, Work
from pipeline_assets.core.stage import Agreement, Rung, Stage
from pipeline_assets.errors import (
    Blocked,
    DataError,
    Forbidden,
    InvalidInput,
    Network,
    NotFound,
    OverBudget,
    Overloaded,
    RateLimited,
    ResourceExhausted,
    RowError,
    SettingsError,
    Timeout,
    TooLarge,
    TransientError,
    Unavailable,
    Unsupported,
    from_http_status,
)
from pipeline_assets.fetch.retry_after import parse_retry_after
from pipeline_assets.settings import Settings, load_settings

if TYPE_CHECKING:
    import dagster as dg

__all__ = [
    "Agreement",
    "Backoff",
    "Blocked",
    "BreakerRule",
    "DataError",
    "Forbidden",
    "InvalidInput",
    "Made",
    "Network",
    "NotFound",
    "Outcome",
    "OverBudget",
    "Overloaded",
    "RateLimited",
    "ResourceExhausted",
    "RowError",
    "Rung",
    "Settings",
    "SettingsError",
    "Stage",
    "Timeout",
    "TooLarge",
    "TransientError",
    "Unavailable",
    "Unsupported",
    "Work",
    "build_definitions",
    "from_http_status",
    "load_settings",
    "parse_retry_after",
    "row_by_row",
    "same",
    "same_words",
    "tool",
]


def build_definitions(
    settings: Settings | None = None, *, key_prefix: Sequence[str] = ()
) -> "dg.Definitions":
    """The whole platform as Dagster definitions, for `Definitions.merge` with others.

    `settings` are by default the environment's (`PIPELINE_…`), as it is when a run begins;
    `load_settings(data=…)` makes others. With `key_prefix`, the asset key of a table is
    `AssetKey([*key_prefix, "enriched_items"])`. Jobs, sensors and schedules keep their names, and
    Dagster refuses two of a name. Raises `SettingsError` for a setting that cannot be.
    """
    from pipeline_assets.definitions import (  # noqa: PLC0415 - Dagster: a second
        build_definitions as build,
    )

    return build(settings, key_prefix=key_prefix)
