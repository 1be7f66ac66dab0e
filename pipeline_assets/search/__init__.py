"""Indexes over enriched items, and ranking."""

from pipeline_assets.search.errors import DimensionMismatch, IndexDamaged
from pipeline_assets.search.index import SearchIndex
from pipeline_assets.search.records import Embedder, Hit, HourIndexed, Mode

__all__ = [
    "DimensionMismatch",
    "Embedder",
    "Hit",
    "HourIndexed",
    "IndexDamaged",
    "Mode",
    "SearchIndex",
]
