"""The asset of retention: what was let go, each time."""

import dagster as dg

from pipeline_assets.assets.location import Location
from pipeline_assets.assets.shown import as_metadata
from pipeline_assets.assets.stages import OWNERS
from pipeline_assets.core.names import RETENTION


def retention_asset(location: Location) -> dg.AssetsDefinition:
    """What is old enough goes; the numbers are kept."""

    @dg.asset(
        name=RETENTION,
        key_prefix=location.key_prefix,
        description="What is old enough goes: superseded rows, work, copies, unused bytes.",
        group_name="platform",
        owners=OWNERS,
        kinds={"parquet"},
    )
    def asset(context: dg.AssetExecutionContext) -> dg.MaterializeResult[None]:
        from pipeline_assets.upkeep.retention import figures, retain  # noqa: PLC0415 - loads adapters

        with location.opened() as resources:
            done = figures(retain(resources))
        for why in done["waits"]:
            context.log.warning("waits for the next time: %s", why)
        rows = sum(done["superseded_rows"].values())
        numbers = {name: value for name, value in done.items() if isinstance(value, int)}
        return dg.MaterializeResult(metadata=as_metadata({"superseded_rows": rows, **numbers}))

    return asset
