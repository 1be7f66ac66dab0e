"""What is forgotten and in the feed all the same stays out: the feed is not ours to change."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pipeline_assets.core.forgotten import Forgotten
    from pipeline_assets.feed.rows import FeedRow


def allowed(feed: Mapping[str, FeedRow], forgotten: Forgotten) -> dict[str, FeedRow]:
    """The feed's rows by item, without forgotten items; a forgotten URL is as if not there."""
    if not forgotten.marks:
        return dict(feed)
    return {
        item: _without_urls(row, forgotten)
        for item, row in feed.items()
        if not forgotten.item(item)
    }


def _without_urls(row: FeedRow, forgotten: Forgotten) -> FeedRow:
    return row._replace(
        document_url=None if forgotten.url(row.document_url) else row.document_url,
        image_url=None if forgotten.url(row.image_url) else row.image_url,
    )
