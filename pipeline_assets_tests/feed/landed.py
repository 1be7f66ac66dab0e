"""What tests read of a landed feed."""

from pathlib import Path
from typing import Any

from pipeline_assets.feed.feed import Feed
from pipeline_assets.store.queries import queries


def landed_rows(feed: Feed, work: Path, hour: str | None = None) -> list[dict[str, Any]]:
    """The rows of an hour, by default all, in the feed's order."""
    landed = feed.landed()
    with queries(landed.storage, work) as connection:
        landed.show(connection, None if hour is None else [hour])
        rows = connection.sql("SELECT * FROM landed ORDER BY file, number").to_arrow_table()
        return list(rows.to_pylist())
