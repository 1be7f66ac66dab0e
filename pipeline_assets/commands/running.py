"""Running an hour through Dagster in this process, as the CLI and the demo do.

With DAGSTER_HOME (or a dagster.yaml in the working directory) the run is in the UI like any other.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline_assets.errors import PipelineError, SettingsError

if TYPE_CHECKING:
    import dagster as dg

CONFIG = "dagster.yaml"
HOME = "DAGSTER_HOME"
QUIET = {"console": {"config": {"log_level": "CRITICAL"}}}
"""Dagster keeps every event; in the terminal the command itself says what matters."""


class RunFailed(PipelineError):
    """A run of an hour ended with a failed step."""

    def __init__(self, hour: str, step: str, reason: str) -> None:
        self.hour, self.step, self.reason = hour, step, reason
        super().__init__(
            f"{step} failed for hour {hour}: {reason}. What was finished before stays; mend the "
            f"cause and run the hour again."
        )


class Interrupted(PipelineError):
    """Somebody stopped a run (Ctrl-C, SIGTERM)."""

    def __init__(self, hour: str) -> None:
        self.hour = hour
        super().__init__(
            f"interrupted in hour {hour}: what was finished stays; run it again to go on from there"
        )


@dataclass(frozen=True, slots=True)
class HourRun:
    """A finished run of one hour: its id, and each asset's metadata by name."""

    run_id: str
    hour: str
    metadata: dict[str, dict[str, Any]]
    warnings: tuple[str, ...]


@contextmanager
def instance() -> Iterator["dg.DagsterInstance"]:
    """The Dagster instance of DAGSTER_HOME or of this folder, else one that is forgotten."""
    import dagster as dg  # noqa: PLC0415 - a second that `--help` must not cost

    if not os.environ.get(HOME) and Path(CONFIG).is_file():
        os.environ[HOME] = str(Path.cwd())
    kept = os.environ.get(HOME)
    if kept and not Path(kept).is_dir():
        raise SettingsError(HOME, kept, "a folder that exists; or leave it unset")
    with dg.DagsterInstance.get() if kept else dg.DagsterInstance.ephemeral() as found:
        yield found


def run_hour(
    hour: str,
    kept_in: "dg.DagsterInstance",
    *,
    items: Sequence[str] = (),
    force: bool = False,
) -> HourRun:
    """Run the job of a whole hour. Raises `RunFailed` with the first failed step's reason."""
    from pipeline_assets.automation.launcher import own_process_tags  # noqa: PLC0415 - likewise
    from pipeline_assets.definitions import defs  # noqa: PLC0415 - loads Dagster
    from pipeline_assets.settings import load_settings  # noqa: PLC0415
    from pipeline_assets.stages import all_stages  # noqa: PLC0415

    options = {"config": {"items": list(items), "force": force}}
    result = defs.resolve_job_def("hour").execute_in_process(
        partition_key=hour,
        instance=kept_in,
        tags=own_process_tags(),
        raise_on_error=False,
        run_config={
            "ops": {stage.name: options for stage in all_stages(load_settings())},
            "loggers": QUIET,
        },
    )
    _raise_failure(result, hour)
    return HourRun(result.run_id, hour, dict(_metadata(result)), tuple(_warnings(result)))


def run_rejects(kept_in: "dg.DagsterInstance") -> int:
    """Materialize the feed's rejects; the number of rows. Raises `RunFailed` like `run_hour`."""
    from pipeline_assets.automation.launcher import own_process_tags  # noqa: PLC0415 - likewise
    from pipeline_assets.core.names import REJECTS  # noqa: PLC0415
    from pipeline_assets.definitions import defs  # noqa: PLC0415 - loads Dagster

    result = defs.resolve_job_def("rejects").execute_in_process(
        instance=kept_in,
        raise_on_error=False,
        run_config={"loggers": QUIET},
        tags=own_process_tags(),
    )
    _raise_failure(result, "all")
    return int(dict(_metadata(result))[REJECTS]["dagster/row_count"])


def run_drill(
    kept_in: "dg.DagsterInstance", *, items: int | None = None, hour: str | None = None
) -> tuple[str, ...]:
    """Drill the fallbacks; what the check says is wrong. Raises `RunFailed` like `run_hour`."""
    from pipeline_assets.automation.launcher import own_process_tags  # noqa: PLC0415 - likewise
    from pipeline_assets.core.names import FALLBACK_DRILL  # noqa: PLC0415
    from pipeline_assets.definitions import defs  # noqa: PLC0415 - loads Dagster

    result = defs.resolve_job_def("drill").execute_in_process(
        instance=kept_in,
        tags=own_process_tags(),
        raise_on_error=False,
        run_config={
            "ops": {FALLBACK_DRILL: {"config": {"items": items, "hour": hour}}},
            "loggers": QUIET,
        },
    )
    _raise_failure(result, hour or "all")
    return tuple(_warnings(result))


def _raise_failure(result: Any, hour: str) -> None:
    failed = next((event for event in result.all_node_events if event.is_step_failure), None)
    if failed is not None:
        if failed.step_failure_data.error.cls_name == "DagsterExecutionInterruptedError":
            raise Interrupted(hour)
        raise RunFailed(hour, failed.step_key or "a step", _reason(failed))


def _metadata(result: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    for event in result.get_asset_materialization_events():
        made = event.step_materialization_data.materialization
        values = {
            name: value.value
            for name, value in made.metadata.items()
            if isinstance(value.value, str | int | float)
        }
        yield made.asset_key.path[-1], values


def _warnings(result: Any) -> Iterator[str]:
    for evaluation in result.get_asset_check_evaluations():
        if not evaluation.passed:
            name = f"{evaluation.asset_key.to_user_string()}.{evaluation.check_name}"
            yield f"{name}: {evaluation.description or 'failed'}"


def _reason(event: Any) -> str:
    # Dagster's error has ours as its cause; what caused ours is of no use to a person.
    error = event.step_failure_data.error.cause or event.step_failure_data.error
    message = " ".join(str(error.message).split())
    return message.partition(": ")[2] or message
