"""One asset for each stage: read the partition, let the engine work, show what came of it."""

import dagster as dg

from pipeline_assets.assets.location import Location
from pipeline_assets.assets.progress import Progress
from pipeline_assets.assets.shown import as_metadata, column_schema, report_metadata, stage_metadata
from pipeline_assets.core.stage import Stage
from pipeline_assets.engine.engine import materialize
from pipeline_assets.engine.inputs import ROLES
from pipeline_assets.engine.orders import Listener, Order
from pipeline_assets.engine.stopping import polite_stop

OWNERS = ["team:data-platform"]
ACCELERATOR_POOL = "accelerator"


class RunOptions(dg.Config):
    """What a run may ask for: some items, what is current redone, or just what may improve."""

    items: list[str] = []  # noqa: RUF012 - pydantic copies it
    force: bool = False
    only_improvable: bool = False


def stage_asset(stage: Stage, location: Location) -> dg.AssetsDefinition:
    """The asset of a stage's table."""

    @dg.asset(
        name=stage.name,
        key_prefix=location.key_prefix,
        description=stage.description,
        deps=location.keys(stage.upstream),
        partitions_def=location.hours,
        group_name=stage.group,
        owners=OWNERS,
        kinds=set(stage.kinds),
        pool=ACCELERATOR_POOL if any(rung.accelerated for rung in stage.rungs) else None,
        metadata=column_schema(stage.schema, stage.meanings),
    )
    def asset(context: dg.AssetExecutionContext, config: RunOptions) -> dg.MaterializeResult[None]:
        hour = context.partition_key
        order = Order(
            stage.name,
            hour,
            context.run.run_id,
            items=frozenset(config.items),
            force=config.force,
            only_improvable=config.only_improvable,
            strict=location.strict,
        )
        with location.opened() as resources, polite_stop() as stop:
            rows = resources.tables.rows("items", hour) * (len(ROLES) if stage.per_resource else 1)
            progress = Progress(context.log, stage.name, rows)
            listener = Listener(finished=progress, stopped=stop, sleep=stop.sleep)
            report = materialize(order, resources, listener, stage)
            table = resources.tables.read(stage.name, hour)
            threshold = resources.settings.quality_threshold
        shown = {**stage_metadata(table, threshold), **report_metadata(report)}
        return dg.MaterializeResult(metadata=as_metadata(shown))

    return asset
