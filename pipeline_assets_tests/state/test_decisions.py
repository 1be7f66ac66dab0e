"""What people decided about dead letters, in the database and beside the tables."""

import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline_assets.core.contract import SCHEMA_VERSION, SCHEMA_VERSION_KEY
from pipeline_assets.core.names import DECISIONS
from pipeline_assets.core.plan import Decision, Verdict
from pipeline_assets.errors import ContractError, StorageError
from pipeline_assets.state.database import State
from pipeline_assets.state.decisions import SCHEMA, DeadRow, Decisions
from pipeline_assets.store.tables import Tables
from pipeline_assets_tests.conftest import HOUR, HOUR_START, NEXT_HOUR, Clock

SEEN = HOUR_START + timedelta(microseconds=123457)
IMAGE = DeadRow(HOUR, "fetched", ("a", "image"), "input.maker", SEEN)
ITEM = DeadRow(HOUR, "image_labels", ("a",), "other.maker", SEEN)
LATER = replace(IMAGE, hour=NEXT_HOUR)


class Root:
    """A data root, and databases that come and go."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder, self.url, self.clock = folder, url, Clock()
        self.tables = Tables(folder / "tables")
        self.opened: list[State] = []

    def database(self, *, lost: bool = False) -> Decisions:
        """The decisions of the database, or of the one before it."""
        url = f"sqlite:///{self.folder / 'lost.db'}" if lost else self.url
        state = State(url, clock=self.clock.seconds)
        self.opened.append(state)
        return Decisions(state, self.tables, self.folder / "locks")

    def kept(self, hour: str = HOUR) -> dict[str, str]:
        """The verdicts beside the tables, by stage."""
        rows = self.tables.read(DECISIONS, hour).to_pylist()
        return {row["stage"]: row["verdict"] for row in rows}


@pytest.fixture
def root(tmp_path: Path, database_url: str) -> Iterator[Root]:
    """An empty data root."""
    made = Root(tmp_path, database_url)
    yield made
    for state in made.opened:
        state.close()


def test_a_decision_is_about_the_row_as_it_was(root: Root) -> None:
    """Its input, and when it was written, to the microsecond."""
    made = root.database()
    made.decide([IMAGE, ITEM], Verdict.DISCARD, "gone for good")
    assert made.of("fetched", HOUR) == {
        ("a", "image"): Decision(Verdict.DISCARD, "input", SEEN),
    }
    assert made.of("image_labels", HOUR) == {("a",): Decision(Verdict.DISCARD, "other", SEEN)}
    assert made.of("fetched", NEXT_HOUR) == {}
    assert made.of("validated", HOUR) == {}


def test_the_latest_decision_replaces_the_earlier(root: Root) -> None:
    """In the database and beside the tables; the others stay."""
    made = root.database()
    made.decide([IMAGE, ITEM, LATER], Verdict.DISCARD, "")
    root.clock.advance(1)
    made.decide([IMAGE], Verdict.REQUEUE, "on second thoughts")
    assert [each.verdict for each in made.of("fetched", HOUR).values()] == [Verdict.REQUEUE]
    assert root.kept() == {"fetched": "requeue", "image_labels": "discard"}
    assert root.kept(NEXT_HOUR) == {"fetched": "discard"}


def test_to_decide_about_nothing_writes_nothing(root: Root) -> None:
    """No empty slice."""
    made = root.database()
    made.decide([], Verdict.DISCARD, "")
    assert made.hours() == []
    assert made.all().num_rows == 0


def test_every_decision_can_be_read_with_its_hour(root: Root) -> None:
    """By hour, stage, item and role; where there is no role it is null, as in every table."""
    made = root.database()
    made.decide([LATER, ITEM, IMAGE], Verdict.DISCARD, "why not")
    columns = ["hour", "stage", "role", "why", "made_at"]
    assert made.all().select(columns).to_pylist() == [
        dict(zip(columns, row, strict=True))
        for row in (
            (HOUR, "fetched", "image", "why not", root.clock()),
            (HOUR, "image_labels", None, "why not", root.clock()),
            (NEXT_HOUR, "fetched", "image", "why not", root.clock()),
        )
    ]
    assert made.all(NEXT_HOUR)["hour"].to_pylist() == [NEXT_HOUR]
    assert root.tables.schema(DECISIONS, HOUR).equals(SCHEMA, check_metadata=True)


def test_what_lies_beside_the_tables_fills_another_database(root: Root) -> None:
    """As often as one likes."""
    old = root.database(lost=True)
    old.decide([IMAGE, ITEM, LATER], Verdict.DISCARD, "gone")
    new = root.database()
    assert [new.restore(hour) for hour in new.hours()] == [2, 1]
    assert [new.restore(hour) for hour in new.hours()] == [2, 1]
    assert new.all().equals(old.all())
    assert new.restore("2026-03-02-23") == 0


def test_an_older_decision_is_not_taken_in(root: Root) -> None:
    """The database knew better."""
    made = root.database()
    made.decide([IMAGE], Verdict.DISCARD, "")
    before = root.tables.read(DECISIONS, HOUR)
    root.clock.advance(1)
    made.decide([IMAGE], Verdict.REQUEUE, "")
    root.tables.write(DECISIONS, HOUR, before)
    made.restore(HOUR)
    assert [each.verdict for each in made.of("fetched", HOUR).values()] == [Verdict.REQUEUE]


def test_the_first_decision_of_a_new_database_drops_none_of_the_old(root: Root) -> None:
    """Even where nobody has recovered it yet."""
    root.database(lost=True).decide([IMAGE], Verdict.DISCARD, "")
    root.clock.advance(1)
    new = root.database()
    new.decide([ITEM], Verdict.REQUEUE, "")
    assert root.kept() == {"fetched": "discard", "image_labels": "requeue"}
    assert len(new.of("fetched", HOUR)) == 1


class KilledError(BaseException):
    """The process is gone."""


def test_killed_between_table_and_database_the_next_decision_mends_it(
    root: Root, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the slice had, the database has then, too."""
    made = root.database()
    write = Tables.write

    def killed_after(*arguments: object, **options: object) -> None:
        write(*arguments, **options)  # type: ignore[arg-type]
        raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(Tables, "write", killed_after)
        with pytest.raises(KilledError):
            made.decide([IMAGE], Verdict.DISCARD, "")
    assert made.of("fetched", HOUR) == {}
    assert root.kept() == {"fetched": "discard"}
    made.decide([ITEM], Verdict.DISCARD, "")
    assert root.kept() == {"fetched": "discard", "image_labels": "discard"}
    assert len(made.of("fetched", HOUR)) == 1


def test_a_disk_that_refuses_the_table_refuses_the_decision(
    root: Root, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was not kept has not been decided."""
    made = root.database()

    def full(*_arguments: object, **_options: object) -> None:
        raise StorageError("decisions", "no space left on device")

    monkeypatch.setattr(Tables, "write", full)
    with pytest.raises(StorageError):
        made.decide([IMAGE], Verdict.DISCARD, "")
    assert made.of("fetched", HOUR) == {}


def test_people_who_decide_at_once_lose_nothing(root: Root) -> None:
    """Neither in the database nor beside the tables."""
    rows = [replace(IMAGE, id=(f"item {number}", "image")) for number in range(12)]
    made = [root.database() for _ in range(4)]

    def decide(person: int) -> None:
        for row in rows[person::4]:
            made[person].decide([row], Verdict.DISCARD, f"person {person}")

    threads = [threading.Thread(target=decide, args=(person,)) for person in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    items = sorted(row.id[0] for row in rows)
    assert root.tables.read(DECISIONS, HOUR)["item_id"].to_pylist() == items
    assert sorted(item for item, _role in made[0].of("fetched", HOUR)) == items


def test_a_slice_of_a_newer_program_is_not_misread(root: Root) -> None:
    """Nor written over."""
    made = root.database()
    made.decide([IMAGE], Verdict.DISCARD, "")
    newer = {SCHEMA_VERSION_KEY: str(SCHEMA_VERSION + 1)}
    table: pa.Table = root.tables.read(DECISIONS, HOUR).replace_schema_metadata(newer)
    pq.write_table(table, root.tables.path(DECISIONS, HOUR))
    with pytest.raises(ContractError, match="upgrade pipeline-assets"):
        made.decide([ITEM], Verdict.DISCARD, "")
    assert made.of("image_labels", HOUR) == {}
