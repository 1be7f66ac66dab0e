"""Packs without what nobody refers to."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from pipeline_assets.errors import LeaseHeld
from pipeline_assets.resources import Resources
from pipeline_assets.state import copies as copies_module
from pipeline_assets.state.copies import Copies
from pipeline_assets.store.blobs import BlobRef, UrlCopy, pack_bytes
from pipeline_assets.store.storage import Storage
from pipeline_assets.upkeep.compaction import Compacted, Rules, compact, look, relocated
from pipeline_assets_tests.conftest import HOUR, HOUR_START, NEXT_HOUR, Clock, open_resources

AT_ONCE = Rules(at_once=True)
COLUMNS = ("pack", "offset", "size", "sha256")


@dataclass(frozen=True)
class Store:
    """Packs, with rows and copies that refer to them."""

    resources: Resources

    def packed(self, *bodies: bytes) -> list[BlobRef]:
        """Where bodies of a new pack are."""
        with self.resources.blobs.pack() as pack:
            return [pack.add(body) for body in bodies]

    def fetched(self, *refs: BlobRef | None, hour: str = HOUR) -> None:
        """Make a table whose rows refer to them."""
        columns = {
            name: [None if ref is None else getattr(ref, name) for ref in refs] for name in COLUMNS
        }
        items = [str(number) for number in range(len(refs))]
        types = (pa.string(), pa.int64(), pa.int64(), pa.string())
        arrays = {
            name: pa.array(columns[name], kind) for name, kind in zip(COLUMNS, types, strict=True)
        }
        table = pa.table({"item_id": pa.array(items, pa.string()), **arrays})
        self.resources.tables.write("fetched", hour, table)

    def kept(self, **refs: BlobRef) -> None:
        """Note copies by their URLs."""
        self.resources.copies.keep(
            {url: UrlCopy(ref, None, HOUR_START) for url, ref in refs.items()}
        )

    def read(self, hour: str = HOUR) -> list[bytes | None]:
        """The bytes that the rows refer to."""
        rows = self.resources.tables.read("fetched", hour, COLUMNS).to_pylist()
        return [self.resources.blobs.read(BlobRef(**row)) if row["pack"] else None for row in rows]


@pytest.fixture
def store(storage: Storage, database_url: str, tmp_path: Path, clock: Clock) -> Iterator[Store]:
    """An empty one."""
    resources = open_resources(tmp_path / "root", clock, state_url=database_url)
    resources.__dict__["storage"] = storage
    yield Store(resources)
    resources.close()


def test_what_is_referred_to_stays_and_the_rest_goes(store: Store) -> None:
    """By rows of any hour, and by copies; whoever refers to it finds it again."""
    a, b, c, _unused = store.packed(b"a" * 5000, b"b" * 700, b"c", b"unused" * 1000)
    store.packed(b"nobody's")
    (whole,) = store.packed(b"whole")
    store.fetched(a, None, whole)
    store.fetched(b, a, hour=NEXT_HOUR)
    store.kept(url=c)
    done = compact(store.resources, AT_ONCE)
    assert (done.rewritten, len(done.removed)) == ((a.pack,), 2)
    assert done.freed_bytes > 6000
    packs = store.resources.blobs.packs()
    assert a.pack not in packs
    assert sum(each.bytes for each in packs.values()) == pack_bytes([5000, 700, 1]) + pack_bytes(
        [5]
    )
    assert store.read() == [b"a" * 5000, None, b"whole"]
    assert store.read(NEXT_HOUR) == [b"b" * 700, b"a" * 5000]
    assert store.resources.blobs.read(store.resources.copies.find(["url"])["url"].blob) == b"c"
    assert compact(store.resources, AT_ONCE) == Compacted()


def test_an_empty_store_has_nothing_to_compact(store: Store) -> None:
    """Nor has one without tables."""
    assert compact(store.resources, AT_ONCE) == look(store.resources, AT_ONCE) == Compacted()


def test_old_copies_go_that_no_row_refers_to(store: Store) -> None:
    """However many there are."""
    a, b = store.packed(b"a", b"b")
    store.fetched(a)
    store.kept(a=a, **{f"b{number}": b for number in range(7)})
    rules = Rules(copies_before=HOUR_START + timedelta(seconds=1))
    assert look(store.resources, rules).copies == compact(store.resources, rules).copies == 7
    assert store.resources.copies.find(["a", "b0", "b6"]).keys() == {"a"}


def test_a_copy_that_was_found_just_before_it_went_is_kept(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a fetch that begins and ends while the references are looked at."""
    (old,) = store.packed(b"old")
    store.kept(old=old)
    drop_keys = Copies.drop_keys

    def fetched_first(copies: Copies, keys: Collection[str]) -> None:
        store.fetched(old)
        drop_keys(copies, keys)

    monkeypatch.setattr(Copies, "drop_keys", fetched_first)
    assert not compact(store.resources, Rules(HOUR_START + timedelta(days=1))).removed
    assert store.read() == [b"old"]


def test_copies_are_read_in_parts(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each once."""
    (a,) = store.packed(b"a")
    store.kept(**{f"url{number}": a for number in range(10)})
    monkeypatch.setattr(copies_module, "_AFTER", copies_module._AFTER.limit(3))
    batches = list(store.resources.copies.all())
    assert [batch.num_rows for batch in batches] == [3, 3, 3, 1]
    assert len({url for batch in batches for url in batch["url"].to_pylist()}) == 10


def test_nothing_is_moved_under_a_fetch(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not under one that began on the way, either: what it refers to is still there."""
    a, _unused = store.packed(b"a", b"unused" * 1000)
    store.fetched(a)
    with store.resources.leases.acquire(f"fetched/{NEXT_HOUR}"), pytest.raises(LeaseHeld):
        compact(store.resources, AT_ONCE)
    move = type(store.resources.copies).move
    begun = []

    def begin_first(*arguments: object) -> None:
        begun.append(store.resources.leases.acquire(f"fetched/{NEXT_HOUR}").__enter__())
        move(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(type(store.resources.copies), "move", begin_first)
    with pytest.raises(LeaseHeld):
        compact(store.resources, AT_ONCE)
    monkeypatch.undo()
    store.fetched(a, hour=NEXT_HOUR)
    begun[0].__exit__(None, None, None)
    assert store.read(NEXT_HOUR) == [b"a"]
    done = compact(store.resources, AT_ONCE)
    assert a.pack in done.removed
    assert store.read() == store.read(NEXT_HOUR) == [b"a"]
    assert len(store.resources.blobs.packs()) == 1


def test_a_row_whose_bytes_stay_is_the_same_row() -> None:
    """So that its table is not written anew."""
    old, new = BlobRef("old", 512, 1, "aa"), BlobRef("new", 1024, 1, "aa")
    rows = pa.table(
        {"pack": ["other", None], "offset": [512, None], "size": [1, None], "sha256": ["aa", None]}
    )
    assert relocated(rows, {old: new}) is rows
    rows = pa.table(
        {"pack": ["old", None], "offset": [512, None], "size": [1, None], "sha256": ["aa", None]}
    )
    assert relocated(rows, {old: new}).to_pylist()[0] == {
        "pack": "new",
        "offset": 1024,
        "size": 1,
        "sha256": "aa",
    }
