"""The 3 am story, played once from start to end; what it leaves behind is looked at row by row."""

import json
import shutil
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pipeline_assets.commands import demo, output
from pipeline_assets.commands.search import search
from pipeline_assets.core.status import Role, Status
from pipeline_assets.errors import ErrorKind, SettingsError
from pipeline_assets.resources import opened
from pipeline_assets.settings import ENV_PREFIX, load_settings
from pipeline_assets.stages import STAGES
from pipeline_assets.store.rung_calls import read_calls
from pipeline_assets.store.tables import Tables
from pipeline_assets_tests import hours
from pipeline_assets_tests.hours import Row, command

ITEMS = 90
HOURS = FIRST, SECOND = "2026-03-02-02", "2026-03-02-03"
PER_RESOURCE = ("fetched", "validated")
PER_ITEM = ("items", "extracted_text", "image_labels", "embeddings", "enriched_items")
LATER = tuple(stage.name for stage in STAGES)
HIT = {"image_labels", "embeddings"}
"""The stages with an accelerated rung."""
BACK = "the accelerator is back"


@dataclass(frozen=True)
class Played:
    """The demo's data root, its tables as the outage left them, and what it told."""

    data: Path
    during: Path
    told: dict[str, Any]
    notes: str
    environment: dict[str, str]

    @property
    def healthy(self) -> dict[str, Any]:
        """The first hour."""
        return dict(self.told["acts"][0])

    @property
    def outage(self) -> dict[str, Any]:
        """The second hour, in the outage."""
        return dict(self.told["acts"][1])

    @property
    def healed(self) -> dict[str, Any]:
        """The second hour, run again."""
        return dict(self.told["acts"][2])

    def before(self, asset: str) -> dict[str, Row]:
        """A table of the second hour as the outage left it."""
        return hours.rows(self.during, asset, SECOND)

    def after(self, asset: str, hour: str = SECOND) -> dict[str, Row]:
        """A table at the end."""
        return hours.rows(self.data, asset, hour)

    def redone(self, asset: str) -> set[str]:
        """The rows that the run after the heal wrote."""
        run_id = self.healed["run_id"]
        return {key for key, row in self.after(asset).items() if row["run_id"] == run_id}

    def degraded(self, stage: str) -> set[str]:
        """The rows of a stage that the outage pushed to a fallback."""
        rows = self.before(stage)
        return {key for key, row in rows.items() if row["fallback_used"] == "cpu_clip"}


@pytest.fixture(scope="session")
def played(tmp_path_factory: pytest.TempPathFactory) -> Played:
    """`demo --items 90 --format json`, with a copy of the tables made between outage and heal."""
    folder = tmp_path_factory.mktemp("demo")
    data, during = folder / "data", folder / "during"
    values = {"PIPELINE_DATA": str(data), "PIPELINE_ACCELERATOR": "cpu"}

    def watching(line: str) -> None:
        note(line)
        if BACK in line:
            shutil.copytree(data / "tables", during / "tables")

    note = output.note
    with hours.environment(values, folder), pytest.MonkeyPatch.context() as patch:
        patch.setattr(output, "note", watching)
        finished = command("demo", "--items", str(ITEMS), "--format", "json")
    assert finished.code == 0, finished.err
    return Played(data, during, json.loads(finished.out), finished.err, values)


def all_rows(played: Played, hour: str) -> list[tuple[str, str, Row]]:
    """Every row of every stage table: (table, key, row)."""
    return [
        (name, key, row)
        for name in (*PER_RESOURCE, *PER_ITEM)
        for key, row in played.after(name, hour).items()
    ]


def test_json_is_all_that_is_on_stdout(played: Played) -> None:
    """What is going on is told on stderr meanwhile."""
    assert [act["title"] for act in played.told["acts"]] == ["healthy", "out of memory", "healed"]
    assert [act["hour"] for act in played.told["acts"]] == [FIRST, SECOND, SECOND]
    assert played.told["items_an_hour"] == ITEMS
    assert BACK in played.notes


@pytest.mark.parametrize("hour", HOURS)
def test_every_item_has_one_row_in_every_stage_table(played: Played, hour: str) -> None:
    """In fetched and validated one for each role."""
    tables = Tables(played.data / "tables")
    items = set(played.after("items", hour))
    assert len(items) == ITEMS
    for name in PER_ITEM:
        assert sorted(row["item_id"] for row in hours.table(played.data, name, hour)) == sorted(
            items
        )
    for name in PER_RESOURCE:
        found = Counter((r["item_id"], r["role"]) for r in hours.table(played.data, name, hour))
        assert found == Counter((item, role.value) for item in items for role in Role)
    assert tables.hours("enriched_items") == list(HOURS)


@pytest.mark.parametrize("hour", HOURS)
def test_an_absent_role_is_not_applicable(played: Played, hour: str) -> None:
    """Just where the feed names no URL."""
    items = played.after("items", hour)
    for name in PER_RESOURCE:
        absent = {k for k, r in played.after(name, hour).items() if r["status"] == "not-applicable"}
        assert absent == {
            f"{item}/{role}"
            for item, row in items.items()
            for role in Role
            if row[f"{role}_url"] is None
        }


@pytest.mark.parametrize("hour", HOURS)
def test_every_status_is_one_of_the_five_and_explains_every_missing_value(
    played: Played, hour: str
) -> None:
    """A null value has a reason, and nothing is left pending."""
    required = {stage.name: stage.required for stage in STAGES}
    kinds = {kind.value for kind in ErrorKind}
    for name, key, row in all_rows(played, hour):
        assert row["status"] in set(Status) - {Status.PENDING}, (name, key)
        if row["status"] == Status.OK:
            assert row["rung"], (name, key)
            assert all(row[column] is not None for column in required.get(name, ())), (name, key)
        elif row["status"] != Status.NOT_APPLICABLE:
            assert row["error_kind"] in kinds, (name, key)
            assert row["error"], (name, key)
        if row["fallback_used"]:
            assert row["error_kind"] in kinds, (name, key)
        assert 0 <= row["quality"] <= 1, (name, key)


@pytest.mark.parametrize("hour", HOURS)
def test_nothing_met_an_unclassified_exception(played: Played, hour: str) -> None:
    """That would be a bug, even where a fallback saved the row."""
    assert not [found for found in all_rows(played, hour) if found[2]["error_kind"] == "internal"]


def test_the_first_hour_is_as_good_as_its_sources(played: Played) -> None:
    """Items at which the shop behaves are at 1.0."""
    faulty = {i for i, r in played.after("items", FIRST).items() if _misbehaves(r)}
    less = {i for i, r in played.after("enriched_items", FIRST).items() if r["quality"] < 1}
    assert less <= faulty
    assert played.healthy["warnings"] == []


def _misbehaves(row: Row) -> bool:
    return any("/fault/" in (row[f"{role}_url"] or "") for role in Role)


def test_the_outage_came_after_a_third_of_the_rows(played: Played) -> None:
    """So the second hour is made of both: rows from before it, and rows that it hit."""
    labels = played.before("image_labels")
    primary = {k for k, row in labels.items() if row["rung"] == "accelerator_clip"}
    assert len(primary) == ITEMS // 3
    assert len(played.degraded("image_labels")) > ITEMS // 3
    assert played.outage["rungs"]["image_labels.accelerator_clip"]["made"] == ITEMS // 3


def test_rows_that_the_outage_hit_say_so(played: Played) -> None:
    """Out of memory, behind the breaker that opened for it, or bound to such a row's label."""
    no_memory = {"resource_exhausted", "circuit_open"}
    for stage in HIT:
        rows = played.before(stage)
        kinds = {rows[key]["error_kind"] for key in played.degraded(stage)}
        assert kinds & no_memory
        assert kinds <= no_memory | ({"constraint"} if stage == "embeddings" else set())
        assert not [
            key
            for key, row in rows.items()
            if row["error_kind"] in no_memory and key not in played.degraded(stage)
        ]


def test_items_with_a_picture_that_the_outage_hit_are_at_0_72(played: Played) -> None:
    """1.0 x 0.9 x 0.8; where the shop misbehaved as well, it took a share of its own."""
    hit = played.degraded("image_labels") & played.degraded("embeddings")
    enriched = played.before("enriched_items")
    at_72 = {item for item, row in enriched.items() if round(row["quality"], 4) == 0.72}
    behaved = {i for i, row in played.before("items").items() if not _misbehaves(row)}
    assert at_72 & behaved == hit & behaved
    assert len(hit & behaved) > ITEMS // 3
    assert played.outage["quality"]["0.720"] == len(at_72)


def test_a_label_and_its_vector_come_from_one_family_throughout(played: Played) -> None:
    """In the outage and after it."""
    for labels, vectors in (
        (played.before("image_labels"), played.before("embeddings")),
        (played.after("image_labels"), played.after("embeddings")),
    ):
        for item, label in labels.items():
            if label["family"] is not None:
                assert vectors[item]["space"] == label["family"]


def test_every_degraded_row_is_healed_by_the_primary_rung(played: Played) -> None:
    """And its item is worth what it would have been without the outage."""
    for stage in HIT:
        rows = played.after(stage)
        for key in played.degraded(stage):
            assert (rows[key]["rung"], rows[key]["fallback_used"]) == ("accelerator_clip", None)
            assert rows[key]["quality"] == pytest.approx(1.0)
    items, enriched = played.after("items"), played.after("enriched_items")
    assert {i for i, r in enriched.items() if r["quality"] < 1} <= {
        i for i, r in items.items() if _misbehaves(r)
    }
    assert "0.720" not in played.healed["quality"]


def test_the_primary_rung_gave_exactly_the_degraded_rows(played: Played) -> None:
    """Made or recalled from equal work; and exactly these rows were written again."""
    for stage in HIT:
        degraded = played.degraded(stage)
        stats = played.healed["rungs"][f"{stage}.accelerator_clip"]
        assert stats["made"] + stats["recalled"] == len(degraded) > 0
        assert stats["rows"] == stats["made"]
        assert played.redone(stage) == degraded


def test_what_was_good_was_not_touched(played: Played) -> None:
    """Not a column of it, after outage and heal."""
    for name in (*PER_RESOURCE, *PER_ITEM):
        before, after = played.before(name), played.after(name)
        kept = set(after) - played.redone(name)
        assert {key: after[key] for key in kept} == {key: before[key] for key in kept}
    for name in ("items", *PER_RESOURCE, "extracted_text"):
        assert played.redone(name) == set()


def test_enriched_items_follow_and_nothing_else_is_called(played: Played) -> None:
    """No fetch, no decoding, no extraction, no fallback: the heal costs what it mends."""
    following = played.degraded("image_labels") | played.degraded("embeddings")
    assert played.redone("enriched_items") == following
    assert played.healed["rungs"]["enriched_items.join"]["made"] == len(following)
    assert set(played.healed["rungs"]) == {
        "image_labels.accelerator_clip",
        "embeddings.accelerator_clip",
        "enriched_items.join",
    }
    calls = read_calls(Tables(played.data / "tables"), SECOND).to_pylist()
    mine = {f"{c['stage']}.{c['rung']}" for c in calls if c["run_id"] == played.healed["run_id"]}
    assert mine == set(played.healed["rungs"])


def test_the_quality_check_warned_in_the_outage_only(played: Played) -> None:
    """It blocked nothing."""
    assert [warning.split(":")[0] for warning in played.outage["warnings"]] == [
        "enriched_items.quality"
    ]
    assert played.healed["warnings"] == []


def test_queues_and_search_follow(played: Played) -> None:
    """Nothing is left to retry, and every item is found in the primary model's space."""
    assert hours.table(played.data, "retry_queue", SECOND) == []
    assert hours.table(played.during, "retry_queue", SECOND)
    with hours.environment(played.environment, played.data.parent), opened() as resources:
        assert resources.search.count() == 2 * ITEMS
        assert resources.search.spaces() == (resources.primary.producer,)
        healed = min(played.degraded("image_labels"))
        name = played.after("items")[healed]["name"]
        hits = {hit["item_id"]: hit for hit in search(resources, name, mode="hybrid", top=40)}
    assert hits[healed]["quality"] == pytest.approx(1.0)


def test_one_search_is_shown_and_finds_what_it_asks_for(played: Played) -> None:
    """Red things, shirts first."""
    assert played.told["query"] == "red shirt"
    assert 0 < len(played.told["hits"]) <= 5
    best = played.told["hits"][0]
    assert best["label"] == "shirt"
    assert "red" in best["name"].lower()


def test_the_story_counts_what_the_tables_have(played: Played) -> None:
    """Statuses and qualities of each act are those of its hour."""
    for act, rows in (
        (played.outage, played.before),
        (played.healed, played.after),
    ):
        assert act["items"] == ITEMS
        for name, counts in act["statuses"].items():
            assert counts == Counter(row["status"] for row in rows(name).values()), name
        found = Counter(f"{row['quality']:.3f}" for row in rows("enriched_items").values())
        assert act["quality"] == found


def test_for_people_the_story_ends_with_tables_a_search_and_where_to_go(
    played: Played, capsys: pytest.CaptureFixture[str]
) -> None:
    """All that JSON has, in a form to read."""
    output.story(played.told)
    text = capsys.readouterr().out
    for act in played.told["acts"]:
        assert act["title"] in text
    assert "at quality 0.720" in text
    for rung in played.outage["rungs"]:
        assert rung in text
    assert 'pipeline-assets search "red shirt"' in text
    assert played.told["hits"][0]["item_id"] in text
    assert "Where to go next" in text
    assert "make ui" in text


def test_the_demo_leaves_the_environment_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its feed and its open host are its own."""
    monkeypatch.setenv(f"{ENV_PREFIX}FEED", "mine.csv")
    monkeypatch.delenv(f"{ENV_PREFIX}FETCH_ALLOW", raising=False)
    with demo._environment(tmp_path, "http://127.0.0.1:8700"):
        assert load_settings().feed == str(tmp_path / "feed.csv")
        assert load_settings().fetch_allow == ("127.0.0.1:8700",)
    assert load_settings().feed == "mine.csv"
    assert load_settings().fetch_allow == ()


def test_a_data_root_that_is_not_a_demos_is_refused(tmp_path: Path) -> None:
    """With the setting to change; nothing in it is touched."""
    data = tmp_path / "data"
    data.mkdir()
    (data / "precious.txt").write_text("mine")
    with hours.environment({"PIPELINE_DATA": str(data)}, tmp_path):
        finished = command("demo", "--items", "1")
    assert finished.code == 1
    assert len(finished.err.splitlines()) == 1
    assert "PIPELINE_DATA" in finished.err
    assert [path.name for path in data.iterdir()] == ["precious.txt"]


def test_a_demos_own_data_root_is_made_anew(tmp_path: Path) -> None:
    """But the note that says what the folder is for stays, and so does what a link points to."""
    data, other = tmp_path / "data", tmp_path / "other"
    data.mkdir()
    other.mkdir()
    (other / "precious.txt").write_text("mine")
    (data / demo.MARKER).write_text("a demo's")
    (data / "README.md").write_text("what this is for")
    (data / "state.db").write_text("old")
    (data / "tables").mkdir()
    (data / "link").symlink_to(other)
    demo._prepare(data)
    assert {path.name for path in data.iterdir()} == {demo.MARKER, "README.md"}
    assert (other / "precious.txt").read_text() == "mine"


def test_a_demos_data_root_with_somebodys_own_hours_is_refused(tmp_path: Path) -> None:
    """Whoever went on working there keeps it all; the message names an hour."""
    (tmp_path / demo.MARKER).write_text("a demo's")
    whole = ("feed_rejects/hour=all", "fallback_drill/hour=all")
    for name in ("items/hour=2026-03-02-02", "items/hour=2026-03-02-04", *whole):
        (tmp_path / "tables" / name).mkdir(parents=True)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(SettingsError, match=r"PIPELINE_DATA.*items/hour=2026-03-02-04"):
        demo._prepare(tmp_path)
    assert sorted(tmp_path.rglob("*")) == before
    (tmp_path / "tables" / "items" / "hour=2026-03-02-04").rmdir()
    demo._prepare(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [demo.MARKER]


@pytest.mark.parametrize("files", [(), ("README.md",)])
def test_an_empty_folder_becomes_a_demos(tmp_path: Path, files: tuple[str, ...]) -> None:
    """As the one that the repository holds."""
    data = tmp_path / "data"
    data.mkdir()
    for name in files:
        (data / name).touch()
    demo._prepare(data)
    assert (data / demo.MARKER).is_file()
