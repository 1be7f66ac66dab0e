"""A state database that was lost: what the tables let it know again, and what it forgot."""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline_assets.core.status import Status
from pipeline_assets.errors import ContractError, without_secrets
from pipeline_assets.state.database import BORN, facts
from pipeline_assets.store.blobs import BlobRef, UrlCopy
from pipeline_assets.store.tables import ROW_GROUP_ROWS, check_version, table_name
from pipeline_assets.store.validators import Validators

if TYPE_CHECKING:
    from collections.abc import Callable

    from pipeline_assets.resources import Resources
    from pipeline_assets.state.database import State
    from pipeline_assets.store.footers import Footer

log = logging.getLogger(__name__)

FETCHED = "fetched"
BLOB_COLUMNS = ("pack", "offset", "size", "sha256")
VALIDATORS = ("etag", "last_modified")
COPY_COLUMNS = ("status", "url", *BLOB_COLUMNS, "content_type", "fetched_at", *VALIDATORS)


def recover(resources: Resources) -> str | None:
    """Fill a new state database from the tables that an older one left, and say what it forgot.

    Cheap, and None, for a database that has had its first run, and for a data root before it.
    """
    state = resources.state
    if state.fact(BORN) is not None:
        return None
    hours = resources.tables.hours(FETCHED)
    lost = bool(hours or resources.decisions.hours())
    said = _restore(resources, hours) if lost else None
    # Last: who is killed before it begins again, and who starts meanwhile does the same work to
    # the same end. Nobody goes on with half of it.
    if not _mark_born(state):
        return None
    if said is not None:
        log.warning(said)
    return said


def _restore(resources: Resources, hours: list[str]) -> str:
    unreadable: list[str] = []
    decided = copied = 0
    for hour in resources.decisions.hours():
        decided += _or_note(unreadable, f"decisions of {hour}", resources.decisions.restore, hour)
    for hour in hours:
        copied += _or_note(
            unreadable, f"{FETCHED} of {hour}", partial(_restore_copies, resources), hour
        )
    url = without_secrets(str(resources.settings.database_url))
    damaged = f" Could not be read, and so is forgotten: {'; '.join(unreadable)}." * bool(
        unreadable
    )
    return (
        f"the state database {url} is new, but {resources.tables.storage.url('')} has tables of "
        f"{len(hours)} hours: the old one was lost or replaced. No row is lost, and none is redone "
        f"for it. Known again from the tables: {decided} decisions about dead letters, which "
        f"hours may be better, and where earlier copies of URLs lie (from {copied} rows). "
        "Forgotten: the memory of the breakers, what people forced open or paused, what today's "
        "retry and spend budgets have used, kept results, which hours were asked for to heal, an "
        "accelerator's fault on request, and whether a GPU was ever used here: until "
        "one is seen again, PIPELINE_ACCELERATOR=auto takes the CPU for the primary device."
        f"{damaged}"
    )


def _or_note(unreadable: list[str], what: str, restore: Callable[[str], int], hour: str) -> int:
    """One hour's damaged file must not keep every hour from running."""
    try:
        return restore(hour)
    except (OSError, pa.ArrowException, ContractError) as error:
        unreadable.append(f"{what} ({error})")
        return 0


def _restore_copies(resources: Resources, hour: str) -> int:
    def keep_all(file: pq.ParquetFile, footer: Footer) -> int:
        check_version(f"{FETCHED} of {hour}", footer.schema)
        known = 0
        for batch in file.iter_batches(ROW_GROUP_ROWS, columns=list(COPY_COLUMNS)):
            found = _copies(batch)
            resources.copies.keep(found)
            known += len(found)
        return known

    return resources.tables.reading(table_name(FETCHED, hour), keep_all)


def _copies(batch: pa.RecordBatch) -> dict[str, UrlCopy]:
    """Where the bytes of the URLs of some rows lie."""
    ok = batch.filter(pc.equal(batch["status"], Status.OK))
    rows = sorted(ok.to_pylist(), key=lambda row: row["fetched_at"])
    return {
        row["url"]: UrlCopy(
            BlobRef(*(row[name] for name in BLOB_COLUMNS)),
            row["content_type"],
            row["fetched_at"],
            Validators(*(row[name] for name in VALIDATORS)),
        )
        for row in rows
    }


def _mark_born(state: State) -> bool:
    """Whether it was this process that did."""
    with state.transaction() as connection:
        return state.add_missing(connection, facts, name=BORN, value=state.now(connection))
