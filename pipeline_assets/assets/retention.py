"""The asset of retention: what was let go, each time."""

import dagster as dg

from pipeline_assets.assets.opening import opened
from pipeline_assets.assets.shown import as_metadata
from pipeline_assets.assets.stages import OWNERS

RETENTION = "retention"


def retention_asset() -> dg.AssetsDefinition:
    """What is old enough goes; the numbers are kept."""

    @dg.asset(
        name=RETENTION,
        description="What is old enough goes: superseded rows, work, copies, unused bytes.",
        group_name="platform",
        owners=OWNERS,
        kinds={"parquet"},
    )
    def asset(context: dg.AssetExecutionContext) -> dg.MaterializeResult[None]:
        from pipeline_assets.commands.retention import figures  # noqa: PLC0415 - loads adapters
        from pipeline_assets.upkeep.retention import retain  # noqa: PLC0415

        with opened() as resources:
            done = figures(retain(resources))
        for why in done["waits"]:
            context.log.warning("waits for the next time: %s", why)
        rows = sum(done["superseded_rows"].values())
        numbers = {name: value for name, value in done.items() if isinstance(value, int)}
        return dg.MaterializeResult(metadata=as_metadata({"superseded_rows": rows, **numbers}))

    return asset
