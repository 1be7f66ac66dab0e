"""`search`: words, a picture or an item against the index; and many queries at once."""

import json
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, fields
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from pipeline_assets.core.names import ENRICHED
from pipeline_assets.errors import RowError, classify
from pipeline_assets.feed.rows import KINDS
from pipeline_assets.models.features import Features
from pipeline_assets.resources import Resources
from pipeline_assets.search import Embedder, Filters, Hit, IndexDamaged, Mode, NoQuery, NoSuchFilter
from pipeline_assets.search.filters import EVERYTHING
from pipeline_assets.search.records import Vector
from pipeline_assets.search.words import words_of
from pipeline_assets.stages import all_stages
from pipeline_assets.stages.hashed_text import SPACE, hashed_vector

log = logging.getLogger(__name__)

QUERY_IDS = ("query_id", "_id", "id")
"""What the id of a query is called in a file of queries: `_id` in public collections."""

EXPECTED = f"an object with `text` and one of {', '.join(QUERY_IDS)}"
SHOWN_CHARS = 80


def search(
    resources: Resources, query: str, *, mode: Mode, top: int, filters: Filters = EVERYTHING
) -> list[dict[str, Any]]:
    """The best items for a query, best first; none for one without a letter or digit."""
    _check(resources, filters)
    if not words_of(query):
        return []
    embedders = _embedders(resources, [query]) if mode != "keyword" else {}
    hits = resources.search.search(query, mode=mode, top=top, embedders=embedders, filters=filters)
    return _as_data(hits)


def search_picture(
    resources: Resources, path: Path, *, top: int, filters: Filters = EVERYTHING
) -> list[dict[str, Any]]:
    """The items nearest to the picture in a file. Raises `RowError` where it is none."""
    _check(resources, filters)
    vectors = _picture_vectors(resources, path.read_bytes())
    return _as_data(resources.search.nearest(vectors, top=top, filters=filters))


def search_like(
    resources: Resources, item: str, *, top: int, filters: Filters = EVERYTHING
) -> list[dict[str, Any]]:
    """The items that are most like an item."""
    _check(resources, filters)
    return _as_data(resources.search.like(item, top=top, filters=filters))


def search_all(
    resources: Resources, path: Path, *, mode: Mode, top: int, filters: Filters = EVERYTHING
) -> list[dict[str, Any]]:
    """The best items for each query of a JSONL file, in its order; each model embeds all at once.

    A line is an object with `text` and an id; see `QUERY_IDS`. Raises `NoQuery` for any other.
    """
    _check(resources, filters)
    queries = list(_queries(path))
    texts = [text for _, text in queries]
    embedders = _embedders(resources, texts) if mode != "keyword" and texts else {}
    return [
        {
            "query_id": query_id,
            "hits": _as_data(
                resources.search.search(
                    text, mode=mode, top=top, embedders=embedders, filters=filters
                )
            ),
        }
        for query_id, text in queries
    ]


def _check(resources: Resources, filters: Filters) -> None:
    """Nothing found for want of an index, or by a slip in a filter, would be believed."""
    if not resources.search.exists() and resources.tables.hours(ENRICHED):
        raise IndexDamaged(str(resources.data / "search"), "it is not there")
    known = [stage.name for stage in all_stages(resources.settings)]
    for stage in filters.stages:
        if stage not in known:
            raise NoSuchFilter("a status of the stage", stage, f"there is {', '.join(known)}")
    if filters.kind is not None and filters.kind not in KINDS:
        raise NoSuchFilter("the kind", filters.kind, f"there is {' and '.join(KINDS)}")
    first, last = filters.first_hour, filters.last_hour
    if first is not None and last is not None and first > last:
        raise NoSuchFilter("an hour from", first, f"it is after {last}, up to which to look")


def _as_data(hits: Sequence[Hit]) -> list[dict[str, Any]]:
    names = [one.name for one in fields(Hit)]
    rows = [{name: getattr(hit, name) for name in names} for hit in hits]
    for row in rows:
        row["gains"] = {name: asdict(gain) for name, gain in row["gains"].items()}
    return rows


def _queries(path: Path) -> Iterator[tuple[str, str]]:
    for number, line in enumerate(path.read_bytes().splitlines(), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            query_id = next(row[name] for name in QUERY_IDS if name in row)
            yield str(query_id), str(row["text"])
        except (ValueError, KeyError, TypeError, StopIteration):
            shown = line.decode(errors="replace")[:SHOWN_CHARS]
            raise NoQuery(str(path), number, shown, EXPECTED) from None


def _embedders(resources: Resources, texts: Sequence[str]) -> dict[str, Embedder]:
    """The vectors of the texts in each space that has items.

    A model is loaded only when its space has items; one that cannot be used now, on an accelerator
    that is gone, leaves its space out: the others and the keywords still answer.
    """
    texts = [text.encode(errors="replace").decode() for text in texts]  # lone surrogates
    embedders: dict[str, Embedder] = {
        space: _known(texts, vectors)
        for space, vectors in _by_model(
            resources, lambda features: features.query_vectors(texts)
        ).items()
    }
    if SPACE in resources.search.spaces():
        embedders[SPACE] = lambda asked: np.stack([hashed_vector(text) for text in asked])
    return embedders


def _known(texts: Sequence[str], vectors: Vector) -> Embedder:
    known = dict(zip(texts, vectors, strict=True))
    return lambda asked: np.stack([known[text] for text in asked])


def _picture_vectors(resources: Resources, data: bytes) -> dict[str, Vector]:
    """The picture's vector in each space of a model."""
    from pipeline_assets.documents.pictures import decode  # noqa: PLC0415 - loads Pillow

    picture = decode(data, resources.settings.max_pixels)
    name = sha256(data).hexdigest()

    def embedded(features: Features) -> Vector:
        vector = features.pictures({name: lambda: picture})[name]
        if isinstance(vector, RowError):
            raise vector
        return vector

    return _by_model(resources, embedded)


def _by_model(resources: Resources, embed: Callable[[Features], Vector]) -> dict[str, Vector]:
    found: dict[str, Vector] = {}
    spaces = [space for space in resources.search.spaces() if space != SPACE]
    resources.earlier_models.keep(spaces)
    for space in spaces:
        try:
            features = resources.model_of(space)
            if features is not None:
                found[space] = embed(features)
        except Exception as error:  # noqa: BLE001 - whatever a model raises, the rest answers
            log.warning("%s is left out of the search: %s", space, classify(error))
    return found
