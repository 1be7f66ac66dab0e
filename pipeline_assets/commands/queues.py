"""`retry-queue`."""

from typing import Any

from pipeline_assets.derived import RETRY_QUEUE
from pipeline_assets.resources import Resources


def retry_queue(resources: Resources, limit: int) -> list[dict[str, Any]]:
    """Improvable rows of items under the threshold, worst item first."""
    tables, name = resources.tables, RETRY_QUEUE.name
    files = [tables.url(name, hour) for hour in tables.hours(name)]
    if not files:
        return []
    with tables.connect() as connection:
        # By name: slices of older programs have other columns.
        slices = connection.read_parquet(files, hive_partitioning=True, union_by_name=True)
        found = slices.order("item_quality, hour, item_id, stage").limit(limit)
        columns = found.columns
        return [dict(zip(columns, row, strict=True)) for row in found.fetchall()]
