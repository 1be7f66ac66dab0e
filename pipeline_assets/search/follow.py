"""The index of this machine follows the tables, where those are in object storage.

Then every host has an index of its own, in its cache, and a run indexes its hours on one of them.
So before an index is used, the hours are read whose tables it has not seen. One that is missing has
seen none.
"""

import json
import logging
from pathlib import Path

from pipeline_assets.core.names import ENRICHED
from pipeline_assets.search.errors import IndexDamaged
from pipeline_assets.search.index import SearchIndex
from pipeline_assets.store.files import write_durably
from pipeline_assets.store.s3_storage import S3Storage
from pipeline_assets.store.tables import PART, Tables

log = logging.getLogger(__name__)

SEEN = "seen.json"
"""Which version of each hour's table is in the index beside it."""


def follow(index: SearchIndex, folder: Path, storage: S3Storage) -> list[str]:
    """Bring the index in `folder` up to date with the tables in `storage`; which hours were read.

    Killed on the way, it goes on from there the next time. An index that is damaged stays as it is:
    whoever asks it is told what to do.
    """
    try:
        return _followed(index, folder, storage)
    except IndexDamaged as error:
        log.warning("the index does not follow the tables: %s", error)
        return []


def _followed(index: SearchIndex, folder: Path, storage: S3Storage) -> list[str]:
    seen = _seen(folder) if index.exists() else {}
    versions = storage.versions(ENRICHED, f"hour=*/{PART}")
    hours = {name.split("/")[1].removeprefix("hour="): name for name in versions}
    new = {hour: name for hour, name in hours.items() if seen.get(hour) != versions[name]}
    tables = Tables(storage)
    for hour, name in new.items():
        indexed = index.replace_hour(hour, tables.read(ENRICHED, hour))
        log.info("indexed %d items of %s, as the bucket has them now", indexed.items, hour)
        seen[hour] = versions[name]
        write_durably(folder / SEEN, json.dumps(seen).encode())
    return list(new)


def _seen(folder: Path) -> dict[str, str]:
    try:
        known = json.loads((folder / SEEN).read_bytes())
    except FileNotFoundError:
        return {}
    return dict(known)
