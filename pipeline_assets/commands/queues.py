"""`retry-queue`."""

from typing import Any

from pipeline_assets.core.names import RETRY_QUEUE
from pipeline_assets.monitoring.slices import show_all_rows
from pipeline_assets.resources import Resources

WORST = "FROM slices ORDER BY item_quality, hour, item_id, stage, role LIMIT $limit"


def retry_queue(resources: Resources, limit: int) -> list[dict[str, Any]]:
    """Improvable rows of items under the threshold, worst item first."""
    with resources.tables.connect() as connection:
        if not show_all_rows(resources, RETRY_QUEUE, connection):
            return []
        found = connection.execute(WORST, {"limit": limit})
        columns = [column[0] for column in found.description]
        return [dict(zip(columns, row, strict=True)) for row in found.fetchall()]
