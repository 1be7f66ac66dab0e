"""One asset for each stage: read the partition, let the engine work, show what came of it."""

import logging
import time

import dagster as dg

from pipeline_assets.adapters.engine import Order, materialize
from pipeline_assets.assets.opening import opened
from pipeline_assets.assets.shown import as_metadata, column_schema, report_metadata, stage_metadata
from pipeline_assets.core.stage import Stage
from pipeline_assets.stages import STRICT_TABLES

OWNERS = ["team:data-platform"]
ACCELERATOR_POOL = "accelerator"
PROGRESS_EVERY_S = 5.0


class RunOptions(dg.Config):
    """What a run may ask for: only some items, or to redo what is current."""

    items: list[str] = []  # noqa: RUF012 - pydantic copies it
    force: bool = False


def stage_asset(
    stage: Stage, hours: dg.HourlyPartitionsDefinition, strict: frozenset[str] = STRICT_TABLES
) -> dg.AssetsDefinition:
    """The asset of a stage's table; failed rows of the tables in `strict` block it."""

    @dg.asset(
        name=stage.name,
        description=stage.description,
        deps=list(stage.upstream),
        partitions_def=hours,
        group_name=stage.group,
        owners=OWNERS,
        kinds=set(stage.kinds),
        pool=ACCELERATOR_POOL if any(rung.accelerated for rung in stage.rungs) else None,
        metadata=column_schema(stage.schema),
    )
    def asset(context: dg.AssetExecutionContext, config: RunOptions) -> dg.MaterializeResult[None]:
        hour = context.partition_key
        order = Order(
            stage,
            hour,
            context.run.run_id,
            items=frozenset(config.items),
            force=config.force,
            strict=strict,
        )
        with opened() as resources:
            report = materialize(order, resources, progress=Progress(context.log, stage.name))
            table = resources.tables.read(stage.name, hour)
            threshold = resources.settings.quality_threshold
        shown = {**stage_metadata(table, threshold), **report_metadata(report)}
        return dg.MaterializeResult(metadata=as_metadata(shown))

    return asset


class Progress:
    """Says every few seconds how far a stage is."""

    def __init__(self, log: logging.Logger, name: str) -> None:
        self._log, self._name = log, name
        self._rows = 0
        self._said = time.monotonic()

    def __call__(self, rows: int) -> None:
        """Count finished rows."""
        self._rows += rows
        if time.monotonic() - self._said >= PROGRESS_EVERY_S:
            self._said = time.monotonic()
            self._log.info("%s: %d rows finished", self._name, self._rows)
