"""`index`: how the search index stands, and how it is made anew."""

from collections.abc import Iterable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from pipeline_assets.core.names import ENRICHED
from pipeline_assets.resources import Resources
from pipeline_assets.store.tables import Tables

if TYPE_CHECKING:
    from pipeline_assets.search import SearchIndex


def show(resources: Resources) -> dict[str, Any]:
    """What is in the index, which hours are not, and how well each vector index finds."""
    index = resources.search
    return {
        "items": index.count(),
        "hours": len(index.hours()),
        "hours_missing": missing(index, resources.tables),
        "vector_indexes": [asdict(one) for one in index.vector_indexes()],
    }


def missing(index: "SearchIndex", tables: Tables) -> list[str]:
    """The hours that have enriched items in the tables and none in the index."""
    known = set(index.hours())
    return [
        hour for hour in tables.hours(ENRICHED) if hour not in known and tables.rows(ENRICHED, hour)
    ]


def rebuild(resources: Resources, hours: Iterable[str]) -> dict[str, Any]:
    """Make the index anew from the tables of these hours, which are all that there are."""
    tables = ((hour, resources.tables.read(ENRICHED, hour)) for hour in hours)
    return asdict(resources.search.rebuild(tables))
