"""The asset of the fallback drill, and the check that says whether the fallbacks work."""

from collections.abc import Sequence
from typing import Any

import dagster as dg
from pydantic import Field

from pipeline_assets.assets.location import Location
from pipeline_assets.assets.progress import Progress
from pipeline_assets.assets.shown import as_metadata, column_schema
from pipeline_assets.assets.stages import ACCELERATOR_POOL, OWNERS
from pipeline_assets.core.names import FALLBACK_DRILL
from pipeline_assets.drill.forcing import (
    MEANINGS,
    SCHEMA,
    DrillRequest,
    drill,
    fallbacks,
    keep,
    last_drill,
    limits,
)
from pipeline_assets.drill.judging import Drilled, advice, verdict
from pipeline_assets.stages import all_stages

FALLBACKS_WORK = "fallbacks_work"
COLUMNS = ("stage", "rung", "factor", "agreement", "compared", "advice", "no value", "ms a row")


class DrillOptions(dg.Config):
    """What a drill may ask for: rows of each stage, by PIPELINE_DRILL_ITEMS, and an hour."""

    items: int | None = Field(None, ge=1)
    hour: str | None = None


def fallback_drill_asset(location: Location) -> dg.AssetsDefinition:
    """Every drill there ever was."""
    stages = [stage for stage in all_stages(location.settings) if len(stage.rungs) > 1]
    accelerated = any(rung.accelerated for stage in stages for rung in stage.rungs[1:])

    @dg.asset(
        name=FALLBACK_DRILL,
        key_prefix=location.key_prefix,
        description="What forcing each fallback on rows of the primary came to, at every drill.",
        deps=location.keys(stage.name for stage in stages),
        group_name="monitoring",
        owners=OWNERS,
        kinds={"parquet"},
        pool=ACCELERATOR_POOL if accelerated else None,
        metadata=column_schema(SCHEMA, MEANINGS),
    )
    def asset(
        context: dg.AssetExecutionContext, config: DrillOptions
    ) -> dg.MaterializeResult[None]:
        with location.opened() as resources:
            now = resources.clock()
            default = resources.settings.drill_items
            items = default if config.items is None else config.items
            wanted = DrillRequest(items, seed=f"{now:%Y-%m-%d}", hour=config.hour)
            rows = items * len(fallbacks(resources.settings))
            progress = Progress(context.log, FALLBACK_DRILL, rows)
            found = []
            for each in drill(resources, wanted):
                found.append(each)
                progress(each.rows)
            keep(resources, found, now, context.run.run_id)
        return dg.MaterializeResult(metadata=as_metadata(drill_metadata(found)))

    return asset


def fallbacks_check(location: Location) -> dg.AssetChecksDefinition:
    """Fails for a fallback that makes no values (an error) or other ones (a warning)."""

    @dg.asset_check(
        asset=location.key(FALLBACK_DRILL),
        name=FALLBACKS_WORK,
        description="In the last drill every fallback made values, and those agreed with the "
        "primary's as far as is wanted.",
    )
    def check() -> dg.AssetCheckResult:
        with location.opened() as resources:
            found = last_drill(resources.tables)
            said = verdict(found, limits(resources.settings))
        wrong = (*said.broken, *said.disagreeing)
        return dg.AssetCheckResult(
            passed=not wrong,
            severity=dg.AssetCheckSeverity.ERROR if said.broken else dg.AssetCheckSeverity.WARN,
            description="; ".join(wrong) or None,
            metadata={
                "fallbacks": len(found),
                "broken": len(said.broken),
                "disagreeing": len(said.disagreeing),
                "not_drilled": sum(not each.rows for each in found),
            },
        )

    return check


def drill_metadata(found: Sequence[Drilled]) -> dict[str, Any]:
    """A table for people, and each agreement as a number that the UI plots."""
    return {
        "dagster/row_count": len(found),
        "drill": dg.MetadataValue.md(_table(found)),
        **{f"agreement_{each.stage}_{each.rung}": each.agreement for each in found},
    }


def _table(found: Sequence[Drilled]) -> str:
    lines = [COLUMNS, ["---"] * len(COLUMNS), *(_cells(each) for each in found)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _cells(each: Drilled) -> list[str]:
    errors = ", ".join(f"{count} {kind}" for kind, count in each.errors.items())
    return [
        each.stage,
        each.rung,
        f"{each.factor:g}",
        "" if each.agreement is None else f"{each.agreement:.3f}",
        str(each.compared),
        advice(each),
        f"{errors or 0} of {each.rows}",
        "" if each.ms_p50 is None else f"{each.ms_p50:.2f} (p95 {each.ms_p95:.2f})",
    ]
