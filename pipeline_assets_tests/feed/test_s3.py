"""A feed below a prefix of an object store: the same feed as in a folder."""

import gzip
import io
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline_assets.errors import FeedError, NoFeed
from pipeline_assets.feed.feed import Feed
from pipeline_assets.store.s3_storage import S3Storage
from pipeline_assets.store.s3_urls import S3Url
from pipeline_assets_tests.conftest import HOUR, Clock, open_resources
from pipeline_assets_tests.feed.landed import landed_rows
from pipeline_assets_tests.s3 import S3Server

Open = Callable[[str], Feed]
Items = Callable[[Feed], list[str]]
HEADER = "item_id,name,kind,event_time\n"


@pytest.fixture
def opened(tmp_path: Path, clock: Clock) -> Iterator[Open]:
    """Opens a feed, with a local data root."""
    made = []

    def opened(source: str) -> Feed:
        made.append(open_resources(tmp_path / "data", clock, feed=source))
        return made[-1].feed

    yield opened
    for resources in made:
        resources.close()


@pytest.fixture
def prefix(s3: S3Server, tmp_path: Path) -> tuple[S3Url, S3Storage]:
    """An empty prefix, and what puts objects there."""
    root = s3.root()
    return root, S3Storage(root, tmp_path / "scratch")


def csv_of(*items: str) -> bytes:
    """A CSV file of these items."""
    rows = "".join(f"{item},thing,product,2026-03-02T06:00:00Z\n" for item in items)
    return (HEADER + rows).encode()


@pytest.fixture
def items(tmp_path: Path) -> Items:
    """The items of the hour, with their files."""

    def items(feed: Feed) -> list[str]:
        rows = landed_rows(feed, tmp_path / "data" / "work", HOUR)
        return [f"{row['item_id']}@{row['file']}" for row in rows]

    return items


def test_a_prefix_is_its_feed_files_by_name(
    prefix: tuple[S3Url, S3Storage], opened: Open, items: Items
) -> None:
    """CSV, packed and not, and Parquet; anew where an object changed."""
    root, storage = prefix
    packed = io.BytesIO()
    rows = {"item_id": list("defgh"), "name": ["n"] * 5, "kind": ["product"] * 5}
    pq.write_table(pa.table({**rows, "event_time": ["2026-03-02T06:00:00Z"] * 5}), packed)
    storage.put("1.csv.gz", gzip.compress(csv_of("a", "b", "c")))
    storage.put("day/2.parquet", packed.getvalue())
    storage.put("_SUCCESS", b"")
    feed = opened(str(root))
    before = [f"{item}@1.csv.gz" for item in "abc"]
    after = [f"{item}@day/2.parquet" for item in "defgh"]
    assert items(feed) == [*before, *after]
    version = feed.peek()
    assert opened(str(root)).peek() == version
    storage.put("1.csv.gz", gzip.compress(csv_of("a", "b", "x")))
    assert feed.peek() != version
    assert items(feed)[2] == "x@1.csv.gz"


def test_one_object_is_a_feed(prefix: tuple[S3Url, S3Storage], opened: Open, items: Items) -> None:
    """Whatever its name."""
    root, storage = prefix
    storage.put("stock.txt", csv_of("a"))
    assert items(opened(str(root / "stock.txt"))) == ["a@stock.txt"]


def test_an_empty_prefix_is_no_feed_yet(prefix: tuple[S3Url, S3Storage], opened: Open) -> None:
    """A bucket that is not there is an error."""
    root, _storage = prefix
    with pytest.raises(NoFeed, match="no object below this prefix"):
        opened(str(root)).files()
    with pytest.raises(FeedError, match="no such bucket"):
        opened("s3://no-such-bucket-here/feed").files()
