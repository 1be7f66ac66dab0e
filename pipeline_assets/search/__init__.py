"""Indexes over enriched items, and ranking."""

from pipeline_assets.search.errors import (
    DimensionMismatch,
    IndexDamaged,
    NoQuery,
    NoSuchFilter,
    NotIndexed,
)
from pipeline_assets.search.filters import Filters
from pipeline_assets.search.index import SearchIndex
from pipeline_assets.search.records import (
    Embedder,
    Hit,
    HourIndexed,
    Mode,
    Rebuilt,
    Sizes,
    VectorIndex,
)

__all__ = [
    "DimensionMismatch",
    "Embedder",
    "Filters",
    "Hit",
    "HourIndexed",
    "IndexDamaged",
    "Mode",
    "NoQuery",
    "NoSuchFilter",
    "NotIndexed",
    "Rebuilt",
    "SearchIndex",
    "Sizes",
    "VectorIndex",
]
