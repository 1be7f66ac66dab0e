"""`search`: a query against the index, embedded once for each space that has items."""

import logging
from dataclasses import asdict
from typing import Any, Literal

import numpy as np

from pipeline_assets.errors import RowError
from pipeline_assets.resources import Resources
from pipeline_assets.search import Embedder
from pipeline_assets.stages.hashed_text import SPACE, hashed_vector

log = logging.getLogger(__name__)


def search(
    resources: Resources, query: str, *, mode: Literal["keyword", "vector", "hybrid"], top: int
) -> list[dict[str, Any]]:
    """The best items for a query, best first."""
    embedders = _embedders(resources, query) if mode != "keyword" else {}
    hits = resources.search.search(query, mode=mode, top=top, embedders=embedders)
    return [asdict(hit) for hit in hits]


def _embedders(resources: Resources, query: str) -> dict[str, Embedder]:
    """How to embed the query for each space that has items.

    A model is loaded only when its space has items; one that cannot be used now, on an accelerator
    that is gone, leaves its space out: the others and the keywords still answer.
    """
    wanted = set(resources.search.spaces())
    embedders: dict[str, Embedder] = {}
    if SPACE in wanted:
        embedders[SPACE] = lambda texts: np.stack([hashed_vector(text) for text in texts])
    for features in (resources.primary, resources.fallback):
        if features.producer in wanted:
            try:
                features.query_vectors([query])
            except (RowError, RuntimeError) as error:
                log.warning("%s is left out of the search: %s", features.producer, error)
            else:
                embedders[features.producer] = features.query_vectors
    return embedders
