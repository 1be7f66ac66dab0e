"""All faults through the fetch stage: every row has its reason, and no row is lost."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from pipeline_assets.core.status import Status
from pipeline_assets.errors import BY_KIND
from pipeline_assets.sample.catalogue import CatalogueItem
from pipeline_assets.stages import fetch
from pipeline_assets.store.blobs import BlobRef
from pipeline_assets_tests.conftest import HOUR_START, Clock, Platform, open_resources
from pipeline_assets_tests.faults.hostile import (
    ASKS_FOR_TIME,
    BODY,
    FAULTS,
    HANGS_BEHIND,
    MAX_BYTES,
    SLOW,
    TABLE,
    deadline_s,
)
from pipeline_assets_tests.faults.server import FaultServer

NAMES = [name for name in FAULTS if name not in (*ASKS_FOR_TIME, *HANGS_BEHIND)]
RINGS = ("redirect-to-itself", "redirects-in-a-ring")
TRIES = 3
IN_FLIGHT = 32


@pytest.fixture(scope="module")
def server() -> Iterator[FaultServer]:
    """One server with everything that can go wrong."""
    with FaultServer(FAULTS) as server:
        yield server


@pytest.fixture(scope="module")
def platforms(
    server: FaultServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Mapping[str, Platform]]:
    """A fetched hour with a picture for each fault, and one for those that never end; by fault."""
    ends = [name for name in NAMES if name not in SLOW]
    with ExitStack() as stack:
        yield {
            name: platform
            for names in (ends, list(SLOW))
            for platform in [
                stack.enter_context(_fetched(names, server, tmp_path_factory.mktemp("hostile")))
            ]
            for name in names
        }


@contextmanager
def _fetched(names: Sequence[str], server: FaultServer, folder: Path) -> Iterator[Platform]:
    clock = Clock()
    with closing(
        open_resources(
            folder / "data",
            clock,
            fetch_allow=(server.host,),
            fetch_timeout_s=deadline_s(names[0]),
            fetch_max_bytes=MAX_BYTES,
            fetch_per_host=IN_FLIGHT,
        )
    ) as resources:
        platform = Platform(resources, clock)
        platform.feed([_item(name, server.url(name)) for name in names])
        platform.items()
        platform.run(fetch.STAGE)
        yield platform


def _item(name: str, url: str) -> CatalogueItem:
    return CatalogueItem(
        item_id=name,
        name=name,
        kind="product",
        description="",
        document_url=None,
        image_url=url,
        event_time=HOUR_START,
        priority="batch",
        category="",
        colour="",
        fault=None,
    )


@pytest.fixture(scope="module")
def rows(platforms: Mapping[str, Platform]) -> Mapping[str, Mapping[str, Any]]:
    """The rows of the pictures, by fault."""
    return {name: platform.rows("fetched")[f"{name}/image"] for name, platform in platforms.items()}


@pytest.mark.parametrize("name", NAMES)
def test_a_row_says_what_its_server_did(
    name: str,
    rows: Mapping[str, Mapping[str, Any]],
    platforms: Mapping[str, Platform],
    server: FaultServer,
) -> None:
    """What is wrong for good is heard once; what may pass has had all its tries, and waits."""
    row, kind = rows[name], TABLE[name].kind
    if kind is None:
        assert (row["status"], row["rung"]) == (Status.OK, "http")
        assert platforms[name].resources.blobs.read(_blob(row)) == BODY
        return
    may_pass = BY_KIND[kind].transient
    assert (row["error_kind"], row["retryable"]) == (kind, may_pass), row["error"]
    assert row["status"] == (Status.SKIPPED if may_pass else Status.FAILED)
    assert row["sha256"] is None
    if may_pass:
        assert row["attempts"] == TRIES
    elif name not in RINGS:
        assert server.asked[name] == 1


def _blob(row: Mapping[str, Any]) -> BlobRef:
    return BlobRef(row["pack"], row["offset"], row["size"], row["sha256"])
