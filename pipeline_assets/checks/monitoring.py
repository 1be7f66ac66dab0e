"""The checks that warn when what goes in, or what comes out, is not what it was."""

from collections.abc import Mapping, Sequence
from datetime import datetime

import dagster as dg
import pyarrow as pa
import pyarrow.compute as pc

from pipeline_assets.assets.location import Location
from pipeline_assets.checks.factories import partitioned_check
from pipeline_assets.core.hours import hour_name, hour_start
from pipeline_assets.core.names import DRIFT, ITEMS
from pipeline_assets.monitoring import drift
from pipeline_assets.monitoring.volume import Volume, volume
from pipeline_assets.store.tables import Tables

NOTHING_YET = "nothing to compare with yet"


def drift_check(location: Location) -> dg.AssetChecksDefinition:
    """Warns of features that have moved, and says by how much."""

    def judge(partitions: Sequence[str]) -> dg.AssetCheckResult:
        with location.opened() as resources:
            found = {hour: resources.tables.read(DRIFT, hour) for hour in partitions}
        said = {hour: drift.said(table) for hour, table in found.items()}
        moved = sum(pc.sum(table["drifted"]).as_py() or 0 for table in found.values())
        judged = sum(len(table["drifted"].drop_null()) for table in found.values())
        return dg.AssetCheckResult(
            passed=not moved,
            severity=dg.AssetCheckSeverity.WARN,
            description=_by_hour(said) if judged else NOTHING_YET,
            metadata={
                "drifted_features": moved,
                "compared_features": judged,
                **_not_compared(found),
            },
        )

    return partitioned_check(
        "no_drift",
        asset_key=location.key(DRIFT),
        description="No feature of the items has moved, by enough and not by chance.",
        judge=judge,
        partitions_def=location.hours,
    )


def _not_compared(found: Mapping[str, pa.Table]) -> dict[str, str]:
    """Why features were left out; with the hours where several were looked at."""
    return {
        name if len(found) == 1 else f"{hour} {name}": f"not compared: {why}"
        for hour, table in found.items()
        for name, why in drift.unsaid(table).items()
    }


def volume_check(location: Location) -> dg.AssetChecksDefinition:
    """Warns of an hour that is empty, or far from its usual size."""

    def judge(partitions: Sequence[str]) -> dg.AssetCheckResult:
        with location.opened() as resources:
            found = {hour: volume_of(resources.tables, hour) for hour in partitions}
        said = {hour: each.said or "" for hour, each in found.items()}
        return dg.AssetCheckResult(
            passed=not any(said.values()),
            severity=dg.AssetCheckSeverity.WARN,
            description=_by_hour(said) or _as_expected(list(found.values())),
            metadata=_sizes(list(found.values())),
        )

    return partitioned_check(
        "volume",
        asset_key=location.key(ITEMS),
        description="The hour is not empty, and about as large as hours like it.",
        judge=judge,
        partitions_def=location.hours,
    )


def volume_of(tables: Tables, hour: str) -> Volume:
    """The size of an hour that is there, against those of hours like it."""

    def items_of(at: datetime) -> int | None:
        name = hour_name(at)
        return tables.rows(ITEMS, name) if tables.exists(ITEMS, name) else None

    return volume(hour_start(hour), items_of)


def _by_hour(said: dict[str, str]) -> str | None:
    """What is wrong; with the hours where several were looked at."""
    wrong = {hour: text for hour, text in said.items() if text}
    if len(said) == 1:
        return next(iter(wrong.values()), None)
    return "; ".join(f"{hour}: {text}" for hour, text in wrong.items()) or None


def _as_expected(found: Sequence[Volume]) -> str | None:
    """What a single hour was held against; of several each has its own."""
    return f"{found[0].items} items; expected: {found[0].expected}" if len(found) == 1 else None


def _sizes(found: Sequence[Volume]) -> dict[str, float | str]:
    items: dict[str, float | str] = {"items": sum(each.items for each in found)}
    if len(found) > 1:
        return items
    [hour] = found
    numbers = {"usual": hour.usual, "least": hour.least, "most": hour.most}
    known = {name: value for name, value in numbers.items() if value is not None}
    return {**items, "expected": hour.expected, **known}
