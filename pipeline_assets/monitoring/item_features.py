"""What is measured of each item, to be compared over hours: its input, and what was made of it.

The pixels of pictures are not read twice for it: brightness is measured on a sample.
"""

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from pipeline_assets.core.contract import SCHEMA_VERSION, SCHEMA_VERSION_KEY
from pipeline_assets.core.names import ENRICHED
from pipeline_assets.core.status import Role, Status
from pipeline_assets.errors import RowError
from pipeline_assets.store.blobs import BlobRef

if TYPE_CHECKING:
    from pipeline_assets.resources import Resources

SAMPLED_PICTURES = 500
"""Pictures of an hour whose brightness is measured: half a standard deviation is found in as many.
At 640x480 a JPEG takes 0.3 ms, a PNG 4."""

READERS = 8
"""Pictures read at once: in object storage each is a request."""

SIDE_PIXELS = 32
"""A JPEG is decoded no larger than this takes: its mean brightness stays."""

SCHEMA = pa.schema(
    [
        pa.field("item_id", pa.string()),
        pa.field("kind", pa.string()),
        pa.field("language", pa.string()),
        pa.field("text_length", pa.int64()),
        pa.field("picture_width", pa.int64()),
        pa.field("picture_height", pa.int64()),
        pa.field("brightness", pa.float64()),
        pa.field("label", pa.string()),
        pa.field("label_confidence", pa.float64()),
        pa.field("modality", pa.string()),
        pa.field("embedding_norm", pa.float64()),
        pa.field("fallback", pa.bool_()),
    ],
    metadata={SCHEMA_VERSION_KEY: str(SCHEMA_VERSION).encode()},
)
MEANINGS = {
    "kind": "product or document",
    "language": "the text's, where a stage's table has a column of this name",
    "text_length": "characters of the document's text",
    "picture_width": "in pixels",
    "picture_height": "in pixels",
    "brightness": f"mean of the pixels, 0..1; of a sample of {SAMPLED_PICTURES} pictures an hour",
    "label": "what the picture shows",
    "label_confidence": "how sure the model is of the label, 0..1",
    "modality": "what was embedded: image or text",
    "embedding_norm": "length of the vector, which should be 1",
    "fallback": "whether a fallback made the label or the embedding",
}

QUERY = """
    SELECT item_id, kind, language, length("text") AS text_length,
           width AS picture_width, height AS picture_height, brightness,
           label, label_confidence, modality,
           round(sqrt(list_inner_product(embedding, embedding)), 3) AS embedding_norm,
           item_id IN (SELECT item_id FROM fallbacks) AS fallback
    FROM enriched
    LEFT JOIN pictures USING (item_id)
    LEFT JOIN brightness USING (item_id)
    LEFT JOIN languages USING (item_id)
    ORDER BY item_id
"""
"""The norm is rounded, or other batches of the same pictures would differ in its last digits."""

FROM_ENRICHED = ("item_id", "kind", "text", "label", "label_confidence", "modality", "embedding")
PREDICTING = ("image_labels", "embeddings")


def item_features(resources: "Resources", hour: str, stages: tuple[str, ...]) -> pa.Table:
    """The features of an hour's items, in the order of their ids."""
    import duckdb  # noqa: PLC0415 - a tenth of a second that loading the definitions need not cost

    pictures = _pictures(resources, hour)
    with duckdb.connect() as connection:
        connection.register("enriched", resources.tables.read(ENRICHED, hour, FROM_ENRICHED))
        connection.register("pictures", pictures)
        connection.register("brightness", _brightness(resources, hour, pictures))
        connection.register("languages", _languages(resources, hour, stages))
        connection.register("fallbacks", _fallbacks(resources, hour))
        made = connection.sql(QUERY).to_arrow_table()
    return made.cast(SCHEMA)


def _pictures(resources: "Resources", hour: str) -> pa.Table:
    columns = ["item_id", "role", "status", "width", "height", "sha256"]
    validated = resources.tables.read("validated", hour, columns)
    return validated.filter(
        (pc.field("role") == Role.IMAGE.value) & (pc.field("status") == Status.OK.value)
    ).select(["item_id", "width", "height", "sha256"])


def _brightness(resources: "Resources", hour: str, pictures: pa.Table) -> pa.Table:
    """The brightness of a sample of pictures; those that cannot be read have none."""
    columns = ["item_id", "role", "pack", "offset", "size", "sha256"]
    fetched = resources.tables.read("fetched", hour, columns)
    places = fetched.filter(
        (pc.field("role") == Role.IMAGE.value)
        & pc.field("item_id").isin(_spread(pictures["item_id"]))
    ).to_pylist()
    stored = [place for place in places if place["sha256"]]
    with ThreadPoolExecutor(READERS) as readers:
        measured = list(readers.map(partial(_brightness_of, resources), stored))
    return pa.table(
        {
            "item_id": pa.array([place["item_id"] for place in stored], pa.string()),
            "brightness": pa.array(measured, pa.float64()),
        }
    )


def _spread(items: pa.ChunkedArray) -> pa.Array:
    """Items of all places of the hour: ids often have their order from the feed."""
    step = max(1, -(-len(items) // SAMPLED_PICTURES))
    return pa.array(items.to_pylist()[::step], pa.string())


def _brightness_of(resources: "Resources", place: dict[str, Any]) -> float | None:
    from PIL import ImageStat  # noqa: PLC0415 - the definitions need no pictures

    from pipeline_assets.documents.pictures import decode  # noqa: PLC0415

    blob = BlobRef(place["pack"], place["offset"], place["size"], place["sha256"])
    try:
        data = resources.blobs.read(blob)
        picture = decode(data, resources.settings.max_pixels, at_least=SIDE_PIXELS)
    except RowError:  # what is wrong with it, its own row says
        return None
    return float(ImageStat.Stat(picture.convert("L")).mean[0]) / 255


def _languages(resources: "Resources", hour: str, stages: tuple[str, ...]) -> pa.Table:
    """The languages that the first stage says that has some."""
    tables = resources.tables
    for stage in stages:
        if tables.exists(stage, hour):
            names = tables.schema(stage, hour).names
            if "language" in names and "role" not in names:
                return tables.read(stage, hour, ["item_id", "language"])
    return pa.table({name: pa.array([], pa.string()) for name in ("item_id", "language")})


def _fallbacks(resources: "Resources", hour: str) -> pa.Table:
    """The items with a prediction of a fallback."""
    tables = (
        resources.tables.read(name, hour, ["item_id", "fallback_used"]) for name in PREDICTING
    )
    return pa.concat_tables(
        [each.filter(pc.field("fallback_used").is_valid()).select(["item_id"]) for each in tables]
    )
