"""A bucket as storage: what it does that a folder does not."""

import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline_assets.errors import Overtaken, StorageError
from pipeline_assets.store.footers import Footer
from pipeline_assets.store.s3_storage import TAIL_BYTES, S3Storage
from pipeline_assets.store.s3_urls import S3Url
from pipeline_assets.store.storage import NOT_THERE, Storage
from pipeline_assets.store.tables import Tables, table_name
from pipeline_assets_tests.s3 import S3Server

ASSET, HOUR = "items", "2026-03-02-06"
NAME = table_name(ASSET, HOUR)


def hosts(server: S3Server, folder: Path) -> tuple[S3Storage, S3Storage]:
    """One place in the bucket, as two hosts see it."""
    root = server.root()
    return S3Storage(root, folder / "one"), S3Storage(root, folder / "other")


def numbers(value: int, rows: int = 1) -> pa.Table:
    """A table of one value, and of noise, which makes it large."""
    noise = np.random.default_rng(value).random(rows)
    items = [f"{n:06d}" for n in range(rows)]
    return pa.table({"item_id": items, "value": [value] * rows, "noise": noise})


def collected(folder: Path, data: bytes) -> Path:
    """Bytes on their way."""
    path = folder / "collected"
    path.write_bytes(data)
    return path


def test_names_are_taken_as_they_are(storage: Storage) -> None:
    """Item ids never become names, but a prefix or a stage may have any."""
    names = ["a b#c?d%20e&f=g~h", "hour=1/stage=x/part", "ü/é", "x*/[y]"]
    for name in names:
        storage.put(name, name.encode())
    assert [storage.whole(name).to_pybytes().decode() for name in names] == names
    assert storage.names("", "*~h") == ["a b#c?d%20e&f=g~h"]
    assert storage.names("hour=1", "stage=*/part") == ["hour=1/stage=x/part"]
    assert storage.below("ü").names("", "*") == ["é"]
    storage.remove([*names, "never there"])
    assert not any(storage.exists(name) for name in names)


def test_a_prefix_does_not_list_what_merely_begins_like_it(storage: Storage) -> None:
    """`items` is not `items_too`."""
    storage.put("items/a", b"")
    storage.put("items_too/b", b"")
    assert storage.below("items").names("", "*") == ["a"]
    assert storage.names("items", "*") == ["items/a"]


def test_of_two_who_replace_the_same_version_one_does(s3: S3Server, tmp_path: Path) -> None:
    """The other is told so, and changes nothing; whether something was there before or not."""
    here, there = map(Tables, hosts(s3, tmp_path))
    for round_ in range(2):
        with here.writer(ASSET, HOUR, numbers(1).schema, lambda _table: None) as slow:
            slow.write(numbers(2 * round_))
            there.write(ASSET, HOUR, numbers(2 * round_ + 1))
            with pytest.raises(Overtaken, match=f"{HOUR}/part.parquet was replaced by another run"):
                slow.publish()
        assert here.read(ASSET, HOUR)["value"].to_pylist() == [2 * round_ + 1]
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_a_version_that_was_seen_before_the_lease_is_what_counts(
    s3: S3Server, tmp_path: Path
) -> None:
    """A successor may have published before the writer was even opened."""
    here, there = map(Tables, hosts(s3, tmp_path))
    seen = here.version(ASSET, HOUR)
    there.write(ASSET, HOUR, numbers(1))
    with pytest.raises(Overtaken):
        here.write(ASSET, HOUR, numbers(2), seen=seen)
    here.write(ASSET, HOUR, numbers(2), seen=here.version(ASSET, HOUR))
    assert there.read(ASSET, HOUR)["value"].to_pylist() == [2]


def test_a_put_whose_answer_was_lost_finds_itself(s3: S3Server, tmp_path: Path) -> None:
    """The client sends it again; what is there by then is what was to be there."""
    storage, _ = hosts(s3, tmp_path)
    storage.replace(collected(tmp_path, b"same"), NAME, NOT_THERE)
    storage.replace(collected(tmp_path, b"same"), NAME, NOT_THERE)
    with pytest.raises(Overtaken):
        storage.replace(collected(tmp_path, b"else"), NAME, NOT_THERE)
    assert storage.whole(NAME).to_pybytes() == b"same"


def test_a_table_that_is_replaced_while_it_is_read_is_read_again(
    s3: S3Server, tmp_path: Path
) -> None:
    """All of the old one or all of the new one, though its parts are read one by one."""
    tables, other = map(Tables, hosts(s3, tmp_path))
    rows = 50_000
    tables.write(ASSET, HOUR, numbers(1, rows))
    assert len(tables.storage.whole(NAME)) > 4 * TAIL_BYTES
    looks: list[int] = []

    def look(file: pq.ParquetFile, _footer: Footer) -> set[int]:
        first = file.read_row_group(0, columns=["value"])["value"].to_pylist()
        if not looks:
            other.write(ASSET, HOUR, numbers(2, rows))
        looks.append(first[0])
        return {*first, *file.read_row_groups([1, 2])["value"].to_pylist()}

    assert tables.reading(NAME, look) == {2}
    assert looks == [1, 2]


def test_one_that_is_replaced_again_and_again_is_given_up(s3: S3Server, tmp_path: Path) -> None:
    """Rather than never to return."""
    tables, other = map(Tables, hosts(s3, tmp_path))
    tables.write(ASSET, HOUR, numbers(0, 50_000))
    looks: list[int] = []

    def look(file: pq.ParquetFile, _footer: Footer) -> pa.Table:
        looks.append(1)
        other.write(ASSET, HOUR, numbers(len(looks), 50_000))
        return file.read()

    with pytest.raises(OSError, match="replaced faster than it can be read"):
        tables.reading(NAME, look)


def test_a_bucket_that_is_not_there_is_said_so(s3: S3Server, tmp_path: Path) -> None:
    """It is no empty storage."""
    assert s3.endpoint
    storage = S3Storage(S3Url("no-such-bucket", "data"), tmp_path)
    for read in (lambda: storage.whole("a"), lambda: storage.part("a", 0, 1)):
        with pytest.raises(OSError, match="no such bucket"):
            read()
    with pytest.raises(OSError, match="cannot be read"):
        storage.names("", "*")
    with pytest.raises(StorageError, match=r"no such bucket.*AWS_ variables.*run again"):
        storage.put("a", b"")


READ = """
import sys
from pathlib import Path
from pipeline_assets.store.s3_storage import S3Storage
from pipeline_assets.store.s3_urls import S3Url
from pipeline_assets.store.tables import Tables
tables = Tables(S3Storage(S3Url.parse(sys.argv[1]), Path(sys.argv[2])))
print(tables.read("items", sys.argv[3]).num_rows)
"""


def test_a_process_of_its_own_reads_what_this_one_wrote(s3: S3Server, tmp_path: Path) -> None:
    """By nothing but the usual AWS variables."""
    root = s3.root()
    Tables(S3Storage(root, tmp_path)).write(ASSET, HOUR, numbers(1, 20_000))
    done = subprocess.run(
        [sys.executable, "-c", READ, str(root), str(tmp_path), HOUR],
        env={**os.environ, **s3.environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "20000\n", done.stderr


def test_a_listing_tells_sizes_and_times(storage: Storage) -> None:
    """Of just what matches."""
    for name, data in (("a/b/c.tar", b"12345"), ("a/c.tar", b""), ("a/b/c.txt", b"1")):
        storage.put(name, data)
    listed = storage.listed("", "*/*/*.tar")
    assert {name: each.bytes for name, each in listed.items()} == {"a/b/c.tar": 5}
    age = datetime.now(UTC) - listed["a/b/c.tar"].modified_at
    assert abs(age) < timedelta(minutes=1)
