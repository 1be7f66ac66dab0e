"""The command line, from its arguments to what it prints and its exit code."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from pipeline_assets.accelerator.accelerator import Fault
from pipeline_assets.cli import app
from pipeline_assets.commands import running
from pipeline_assets.core.status import Status
from pipeline_assets.resources import opened
from pipeline_assets.sample.catalogue import catalogue, write_feed
from pipeline_assets.sample.shop import Shop
from pipeline_assets.stages import STAGES
from pipeline_assets_tests import REPOSITORY, hours
from pipeline_assets_tests.conftest import HOUR, HOUR_START, NEXT_HOUR
from pipeline_assets_tests.hours import HOSTILE, NAME_ONLY, Finished, command

ITEMS = 18
SCRIPT = Path(sys.executable).with_name("pipeline-assets")
TOO_EARLY, TOO_LATE = "2025-12-31-23", "2999-01-01-00"
EVIL_NAME = "evil \x1b[31mred\x1b]0;title\x07\x9b2J \r\nlabel: forged"
TREES = ("tables", "work", "blobs", "search")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, shop: Shop) -> tuple[Path, Finished]:
    """A data root with two hours, and what `run --from --to --format json` said."""
    folder = tmp_path_factory.mktemp("cli")
    data = folder / "data"
    goods = hours.goods_of_an_hour(shop.url, ITEMS)
    more = catalogue(6, hours.SEED, HOUR_START.replace(hour=7), base_url=shop.url)
    hours.write_goods(data, [*goods, *more])
    with hours.environment(hours.environment_of(data, shop.url), folder):
        said = command("run", "--from", HOUR, "--to", NEXT_HOUR, "--format", "json")
    return data, said


@pytest.fixture
def data(made: tuple[Path, Finished], shop: Shop) -> Iterator[Path]:
    """The two hours, to be read and not written."""
    with hours.environment(hours.environment_of(made[0], shop.url), made[0].parent):
        yield made[0]


@pytest.fixture
def copy(made: tuple[Path, Finished], shop: Shop, tmp_path: Path) -> Iterator[Path]:
    """A copy of the two hours, to be worked on."""
    copied = tmp_path / "data"
    shutil.copytree(made[0], copied)
    with hours.environment(hours.environment_of(copied, shop.url), tmp_path):
        yield copied


@pytest.fixture
def empty(tmp_path: Path, shop: Shop) -> Iterator[Path]:
    """A data root that does not exist yet, and a feed of one item."""
    data = tmp_path / "data"
    feed = tmp_path / "feed.csv"
    write_feed(feed, hours.goods_of_an_hour(shop.url, 4)[-1:])
    with hours.environment(hours.environment_of(data, shop.url, feed), tmp_path):
        yield data


def parsed(*arguments: str) -> Any:
    """What a command that ends well says as JSON."""
    finished = command(*arguments, "--format", "json")
    assert finished.code == 0, finished.err
    return json.loads(finished.out)


def in_a_process(*arguments: str, **settings: str) -> Finished:
    """Run the installed script in a process of its own."""
    ended = subprocess.run(
        [SCRIPT, *arguments],
        env={**os.environ, **settings},
        capture_output=True,
        text=True,
        check=False,
    )
    return Finished(ended.returncode, ended.stdout, ended.stderr)


def refused(finished: Finished) -> str:
    """The one line on stderr that an error of ours is."""
    assert finished.code == 1
    assert finished.out == ""
    lines = finished.err.splitlines()
    assert len(lines) == 1, finished.err
    assert lines[0].startswith("pipeline-assets: ")
    return lines[0]


def digests(data: Path) -> dict[str, str]:
    """What is on the disk, except the state database, which only ever grows facts."""
    return {
        str(path.relative_to(data)): hashlib.sha256(path.read_bytes()).hexdigest()
        for tree in TREES
        for path in sorted((data / tree).rglob("*"))
        if path.is_file()
    }


READING = [
    ("plan", "--hour", HOUR),
    ("doctor",),
    ("quality",),
    ("quality", "--by", "stage"),
    ("quality", "--by", "rung"),
    ("quality", "--by", "label"),
    ("show", NAME_ONLY),
    ("search", "red shirt"),
    ("search", "teapot", "--mode", "keyword"),
    ("search", "something to wear", "--mode", "vector", "--top", "3"),
    ("retry-queue",),
    ("dead-letters", "list"),
    ("breakers", "list"),
    ("accelerator", "status"),
]


@pytest.mark.parametrize("arguments", READING, ids=" ".join)
def test_a_command_that_reads_answers_people_and_machines(
    data: Path, arguments: tuple[str, ...]
) -> None:
    """Both on stdout and with 0; nothing is on stderr, and no table changes."""
    before = digests(data)
    for_people = command(*arguments)
    assert (for_people.code, for_people.err) == (0, "")
    assert for_people.out.strip()
    for_machines = command(*arguments, "--format", "json")
    assert (for_machines.code, for_machines.err) == (0, "")
    json.loads(for_machines.out, parse_constant=pytest.fail)
    assert digests(data) == before


@pytest.mark.parametrize("arguments", READING, ids=" ".join)
def test_a_command_before_the_first_run_has_nothing_to_say_and_says_it(
    empty: Path, arguments: tuple[str, ...]
) -> None:
    """An empty data root is no error, except to ask for an item that nobody knows."""
    finished = command(*arguments)
    if arguments[0] == "show":
        assert NAME_ONLY in refused(finished)
        return
    assert finished.code == 0, finished.err
    assert finished.out.strip()
    assert not (empty / "tables").exists()


def test_run_brings_a_range_of_hours_up_to_date(made: tuple[Path, Finished]) -> None:
    """Each hour with the metadata of every asset; nothing else is on stdout."""
    data, said = made
    assert said.code == 0, said.err
    told = json.loads(said.out)
    assert [each["hour"] for each in told["hours"]] == [HOUR, NEXT_HOUR]
    assert told["feed_rejects"] == 0
    counts = [each["metadata"]["enriched_items"]["dagster/row_count"] for each in told["hours"]]
    assert counts == [ITEMS + 2, 6]
    assert len({each["run_id"] for each in told["hours"]}) == 2
    assert len(hours.rows(data, "enriched_items", NEXT_HOUR)) == 6


def test_run_again_works_on_nothing(copy: Path) -> None:
    """For people it is a table with a line for each asset."""
    before = hours.rows(copy, "enriched_items")
    finished = command("run", "--hour", HOUR)
    assert finished.code == 0, finished.err
    for name in ("items", *(stage.name for stage in STAGES), "search_index", "retry_queue"):
        assert name in finished.out
    assert hours.rows(copy, "enriched_items") == before


def test_run_of_one_item_with_force_redoes_that_item(copy: Path) -> None:
    """All other rows stay as they are."""
    before = hours.rows(copy, "enriched_items")
    told = parsed("run", "--hour", HOUR, "--item", NAME_ONLY, "--item", HOSTILE, "--force")
    after = hours.rows(copy, "enriched_items")
    run_id = told["hours"][0]["run_id"]
    assert {i for i, row in after.items() if row["run_id"] == run_id} == {NAME_ONLY, HOSTILE}
    assert {i: row for i, row in after.items() if row["run_id"] != run_id} == {
        i: row for i, row in before.items() if i not in (NAME_ONLY, HOSTILE)
    }


@pytest.mark.parametrize(
    "text", [HOUR, "2026-03-02T06", "2026-03-02T06:00", "2026-03-02T06:00:00Z"]
)
def test_an_hour_may_be_written_in_several_ways(data: Path, text: str) -> None:
    """As a partition, or as ISO 8601 has it."""
    assert data.exists()
    assert parsed("plan", "--hour", text)["hour"] == HOUR


@pytest.mark.parametrize("text", ["", "today", "2026-03-02", "2026-03-02-24", "2026-03-02T06:30"])
def test_what_is_no_full_hour_is_a_usage_error(data: Path, text: str) -> None:
    """With an example of one."""
    assert data.exists()
    result = CliRunner().invoke(app, ["plan", "--hour", text])
    assert result.exit_code == 2
    assert "full hour such as 2026-03-02-06" in " ".join(result.output.split())


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--from", HOUR],
        ["--to", HOUR],
        ["--hour", HOUR, "--from", HOUR],
        ["--hour", HOUR, "--to", HOUR],
        ["--hour", HOUR, "--from", HOUR, "--to", HOUR],
    ],
    ids=" ".join,
)
def test_run_wants_an_hour_or_both_ends_of_a_range(data: Path, arguments: list[str]) -> None:
    """An option that would be ignored is refused."""
    assert data.exists()
    result = CliRunner().invoke(app, ["run", *arguments])
    assert result.exit_code == 2
    assert "either --hour, or --from and --to" in " ".join(result.output.split())


def test_a_range_that_ends_before_it_begins_is_a_usage_error(data: Path) -> None:
    """Nothing is run backwards."""
    assert data.exists()
    result = CliRunner().invoke(app, ["run", "--from", NEXT_HOUR, "--to", HOUR])
    assert result.exit_code == 2
    assert f"--to {HOUR} is before" in " ".join(result.output.split())


@pytest.mark.parametrize(
    ("options", "expected"),
    [([], [HOUR, NEXT_HOUR]), (["--newest-first"], [NEXT_HOUR, HOUR])],
    ids=["oldest first", "newest first"],
)
def test_hours_are_run_in_the_order_that_was_asked_for(
    data: Path, monkeypatch: pytest.MonkeyPatch, options: list[str], expected: list[str]
) -> None:
    """Newest first, what people find is up to date soonest."""
    assert data.exists()

    def run_hour(hour: str, *_dagster: object, **_options: object) -> running.HourRun:
        return running.HourRun("run", hour, {}, ())

    monkeypatch.setattr(running, "run_rejects", lambda _dagster: 0)
    monkeypatch.setattr(running, "run_hour", run_hour)
    told = parsed("run", "--from", HOUR, "--to", NEXT_HOUR, *options)
    assert [each["hour"] for each in told["hours"]] == expected


@pytest.mark.parametrize(
    ("arguments", "allowed"),
    [
        (("run", "--hour", TOO_EARLY), "the first hour is 2026-01-01-00 (PIPELINE_START)"),
        (("plan", "--hour", TOO_EARLY), "the first hour is 2026-01-01-00 (PIPELINE_START)"),
        (("run", "--hour", TOO_LATE), "the last hour that has closed is"),
        (("run", "--from", HOUR, "--to", TOO_LATE), "the last hour that has closed is"),
    ],
    ids=str,
)
def test_an_hour_without_a_partition_is_refused_before_anything_runs(
    empty: Path, arguments: tuple[str, ...], allowed: str
) -> None:
    """With the value, and what would do."""
    line = refused(command(*arguments))
    assert allowed in line
    assert TOO_EARLY in line or TOO_LATE in line
    assert not (empty / "tables").exists()


def test_plan_names_rows_and_reasons_and_changes_nothing(copy: Path, shop: Shop) -> None:
    """What a run then does is what was planned."""
    parsed("plan", "--hour", HOUR)  # from here on, the models' names are known
    before = digests(copy)
    with opened() as resources:
        resources.tables.path("extracted_text", HOUR).unlink()
    del before[f"tables/extracted_text/hour={HOUR}/part.parquet"]
    told = parsed("plan", "--hour", HOUR)
    assert digests(copy) == before
    assert told["feed_rows"] == told["items"] == ITEMS + 2
    stages = {each["stage"]: each for each in told["stages"]}
    assert list(stages) == [stage.name for stage in STAGES]
    planned = stages["extracted_text"]["planned"]
    assert sum(planned.values()) == ITEMS + 2
    calls = stages["extracted_text"]["calls"]
    assert 0 < calls <= planned["pending"]  # a document that was not fetched needs no call
    assert stages["fetched"]["planned"] == {}
    asked = dict(shop.all_requests())
    run = parsed("run", "--hour", HOUR)["hours"][0]["metadata"]
    assert run["extracted_text"]["rung_structured_rows"] == calls
    assert dict(shop.all_requests()) == asked


def test_plan_with_force_is_as_if_everything_were_redone(data: Path) -> None:
    """And for one item it is that item's rows."""
    assert data.exists()
    told = parsed("plan", "--hour", HOUR, "--force", "--item", NAME_ONLY)
    stages = {each["stage"]: each for each in told["stages"]}
    assert stages["embeddings"]["planned"] == {"forced": 1}
    assert stages["embeddings"]["standing"] == {"not asked for": ITEMS + 1}
    assert stages["fetched"]["calls"] == 0


def test_plan_of_an_hour_that_has_no_items_yet_counts_the_feed(empty: Path) -> None:
    """For people in words."""
    assert not empty.exists()
    told = parsed("plan", "--hour", HOUR)
    assert (told["feed_rows"], told["items"]) == (1, 0)
    assert "every row of the feed is new" in command("plan", "--hour", HOUR).out


def test_plan_over_a_range_says_the_most_that_a_backfill_would_do(empty: Path) -> None:
    """By hour and in all; for people with what was counted from the feed."""
    assert not empty.exists()
    told = parsed("plan", "--from", HOUR, "--to", NEXT_HOUR)
    assert [each["new_items"] for each in told["hours"]] == [1, 0]
    assert set(told["total"]["rows"]) == {stage.name for stage in STAGES}
    assert told["total"]["cost_usd_at_most"] == 0
    said = command("plan", "--from", HOUR, "--to", NEXT_HOUR).out
    assert "2026-03-02-06 to 2026-03-02-07: 1 of 2 hours have something to do" in said
    assert "2 of 2 hours were never materialized: their rows are counted from the feed" in said
    assert "image_labels.accelerator_clip" in said


def test_plan_over_good_hours_has_nothing_to_show(data: Path) -> None:
    """A backfill over them calls no rung."""
    assert data.exists()
    said = command("plan", "--from", HOUR, "--to", HOUR)
    assert said.code == 0
    assert "0 of 1 hours have something to do" in said.out


@pytest.mark.parametrize("arguments", [[], ["--from", HOUR], ["--hour", HOUR, "--to", HOUR]])
def test_plan_wants_an_hour_or_both_ends_of_a_range(data: Path, arguments: list[str]) -> None:
    """As `run` does."""
    assert data.exists()
    result = CliRunner().invoke(app, ["plan", *arguments])
    assert result.exit_code == 2
    assert "either --hour, or --from and --to" in " ".join(result.output.split())


@pytest.mark.parametrize(
    ("by", "column"), [("hour", "hour"), ("stage", "stage"), ("rung", "rung"), ("label", "label")]
)
def test_quality_counts_each_row_once(data: Path, by: str, column: str) -> None:
    """Grouped by whatever it is asked for."""
    rows = parsed("quality", "--by", by)
    assert all(row[column] for row in rows)
    both_hours = ITEMS + 2 + 6
    if by in ("hour", "label"):
        assert sum(row["rows"] for row in rows) == both_hours
    else:
        embedded = [row for row in rows if row["stage"] == "embeddings"]
        assert sum(row["rows"] for row in embedded) == both_hours
    if by == "hour":
        mine = [row["quality"] for row in hours.rows(data, "enriched_items").values()]
        assert rows[0]["mean"] == pytest.approx(sum(mine) / len(mine), abs=1e-3)


def test_show_has_every_stage_and_what_the_score_is_made_of(data: Path) -> None:
    """The factors multiply to the quality; a vector is a number of numbers."""
    item = next(i for i, r in hours.rows(data, "enriched_items").items() if r["quality"] < 1)
    told = parsed("show", item)
    product = 1.0
    for factor in told["quality_factors"]:
        product *= factor["factor"]
    assert told["quality"] == pytest.approx(product)
    assert set(told["stages"]) == {"items", *(stage.name for stage in STAGES)}
    assert [row["role"] for row in told["stages"]["fetched"]] == ["document", "image"]
    assert told["stages"]["embeddings"][0]["embedding"].endswith(" numbers")
    assert (told["hour"], told["other_hours"]) == (HOUR, [])


def test_search_finds_an_item_without_picture_by_its_name(data: Path) -> None:
    """First, and no more than asked for."""
    assert data.exists()
    hits = parsed("search", "teapot", "--top", "2")
    assert hits[0]["item_id"] == NAME_ONLY
    assert len(hits) == 2
    assert "no item matches" in command("search", "?!", "--mode", "keyword").out


def test_search_explains_itself(data: Path) -> None:
    """What each list gave, for people; for machines it is always there."""
    assert data.exists()
    told = command("search", "teapot", "--mode", "keyword", "--explain").out
    assert "name: rank 1, match 1.000, 100% of the best, weighed 1 by quality" in told
    (hit, *_others) = parsed("search", "teapot", "--mode", "keyword")
    assert hit["gains"]["keyword"]["rank"] == hit["ranks"]["keyword"]
    assert {factor["stage"] for factor in hit["factors"]} >= {"embeddings", "image_labels"}


def test_search_takes_filters_and_other_items(data: Path) -> None:
    """By kind, hour, quality and the status of a stage."""
    assert data.exists()
    words = ("search", "teapot", "--mode", "keyword")
    assert parsed(*words, "--status", "image_labels=not-applicable", "--min-quality", "0.9")
    assert parsed(*words, "--status", "image_labels=failed", "--kind", "product") == []
    assert parsed(*words, "--from", NEXT_HOUR) == []
    assert parsed(*words, "--to", HOUR, "--label", "no such label") == []
    found = parsed("search", "--like", NAME_ONLY)
    assert NAME_ONLY not in {hit["item_id"] for hit in found}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["search"], "give one of"),
        (["search", "teapot", "--like", "x"], "give one of"),
        (["search", "teapot", "--status", "image_labels"], "pending, failed"),
        (["search", "teapot", "--status", "image_labels=lost"], "pending, failed"),
        (["search", "--like", "no-such-item"], "no current item 'no-such-item'"),
    ],
)
def test_a_search_that_is_not_clear_says_what_is_missing(
    data: Path, arguments: list[str], said: str
) -> None:
    """Instead of guessing."""
    assert data.exists()
    finished = command(*arguments)
    assert finished.code != 0
    assert said in " ".join(finished.err.replace("│", " ").split())


def test_queries_of_a_file_are_answered_together(data: Path, tmp_path: Path) -> None:
    """As JSON, so that a public collection can be scored."""
    assert data.exists()
    path = tmp_path / "queries.jsonl"
    path.write_text('{"_id": "q1", "text": "teapot"}')
    (answer,) = parsed("search", "--queries", str(path), "--mode", "keyword", "--top", "1")
    assert (answer["query_id"], answer["hits"][0]["item_id"]) == ("q1", NAME_ONLY)
    assert "q1" in command("search", "--queries", str(path), "--mode", "keyword").out


def test_the_index_is_shown_and_made_anew(data: Path) -> None:
    """With its recall, from the tables alone."""
    assert data.exists()
    before = parsed("index", "show")
    assert (before["hours_missing"], before["vector_indexes"][0]["recall"]) == ([], 1.0)
    assert parsed("index", "rebuild")["items"] == before["items"]
    after = parsed("index", "show")
    assert (after["items"], after["hours"]) == (before["items"], before["hours"])
    assert all(one["dead"] == 0 for one in after["vector_indexes"])
    said = f"{after['items']} current items of {after['hours']} hours"
    assert said in command("index", "show").out


def test_dead_letters_and_retry_queue_are_listed_up_to_a_limit(data: Path) -> None:
    """Each with the whole reason."""
    assert data.exists()
    letters = parsed("dead-letters", "list")
    assert {letter["error_kind"] for letter in letters} == {"not_found", "invalid_input"}
    assert len(parsed("dead-letters", "list", "--limit", "1")) == 1
    text = command("dead-letters", "list").out
    assert all(letter["error"] in text for letter in letters)
    assert parsed("retry-queue") == []
    assert command("retry-queue").out == "nothing\n"


def test_names_from_the_feed_cannot_drive_the_terminal(empty: Path) -> None:
    """Escape sequences and forged lines of a stranger's name are shown, not obeyed."""
    feed = Path(os.environ["PIPELINE_FEED"])
    rows = feed.read_text()
    feed.write_text(rows.replace("Teapot", f'"{EVIL_NAME}"'), newline="")
    assert command("run", "--hour", HOUR).code == 0
    for arguments in (("show", NAME_ONLY), ("search", "evil")):
        text = command(*arguments).out
        assert "evil" in text
        assert not set(text) & {"\x1b", "\x07", "\x9b", "\r"}
        assert not any(line.startswith("label: forged") for line in text.splitlines())
    assert parsed("show", NAME_ONLY)["stages"]["items"][0]["name"] == EVIL_NAME
    assert empty.exists()


def test_markup_of_ours_in_a_name_is_text(data: Path) -> None:
    """Brackets in a name neither colour the line nor vanish."""
    assert data.exists()
    assert "[free](javascript:alert(2))" in command("show", HOSTILE).out


def test_accelerator_fails_until_it_is_healed(copy: Path) -> None:
    """Each command says how it is now."""
    assert copy.exists()
    assert parsed("accelerator", "status")["healthy"]
    told = parsed("accelerator", "fail", "oom", "--after-rows", "0", "--fits", "2")
    assert told == {"kind": "oom", "after_rows": 0, "fits": 2}
    status = parsed("accelerator", "status")
    assert not status["healthy"]
    assert status["fault"]["kind"] == "oom"
    assert "heal" in status["reason"]
    assert "kind oom" in command("accelerator", "status").out
    healed = parsed("accelerator", "heal")
    assert healed["healthy"]
    assert healed["fault"] is None


@pytest.mark.parametrize("fault", [fault.value for fault in Fault])
def test_every_fault_can_be_asked_for(empty: Path, fault: str) -> None:
    """And is there for the next process."""
    assert not empty.exists()
    assert command("accelerator", "fail", fault).code == 0
    assert parsed("accelerator", "status")["fault"]["kind"] == fault


def test_another_fault_is_a_usage_error(empty: Path) -> None:
    """With those that there are."""
    assert not empty.exists()
    result = CliRunner().invoke(app, ["accelerator", "fail", "earthquake"])
    assert result.exit_code == 2
    assert "oom" in result.output


def test_a_breaker_is_forced_open_until_it_is_reset(copy: Path) -> None:
    """While it is open its rung is not called, and the rows say why."""
    name = "extracted_text.structured"
    assert parsed("breakers", "open", name)["mode"] == "forced-open"
    modes = {each["breaker"]: each["mode"] for each in parsed("breakers", "list")}
    assert modes[name] == "forced-open"
    assert "forced-open" in command("breakers", "list").out
    forced = parsed("run", "--hour", HOUR, "--force")["hours"][0]["metadata"]["extracted_text"]
    assert forced.get("rung_structured_calls", 0) == 0
    rows = hours.rows(copy, "extracted_text")
    assert {r["rung"] for r in rows.values() if r["status"] == Status.OK} == {"structured"}
    assert parsed("breakers", "reset", name)["mode"] == "closed"
    modes = {each["breaker"]: each["mode"] for each in parsed("breakers", "list")}
    assert modes[name] == "closed"


def test_doctor_finds_an_injected_fault_and_says_how_to_mend_it(copy: Path) -> None:
    """For people and for machines; the exit code is 1 until it is mended."""
    assert copy.exists()
    assert command("doctor").code == 0
    command("accelerator", "fail", "unavailable")
    finished = command("doctor", "--format", "json")
    assert finished.code == 1
    (wrong,) = [each for each in json.loads(finished.out) if not each["ok"]]
    assert wrong["what"] == "accelerator"
    assert "accelerator heal" in wrong["mend"]
    text = command("doctor").out
    assert "wrong" in text
    assert "to mend: `pipeline-assets accelerator heal` lifts the fault" in text
    command("accelerator", "heal")
    assert command("doctor").code == 0


@pytest.mark.parametrize(
    ("field", "value", "what", "mend"),
    [
        ("PIPELINE_FEED", "", "feed", "CSV"),
        ("PIPELINE_FEED", "no-such.csv", "feed", "PIPELINE_FEED"),
        ("PIPELINE_PRIMARY_MODEL", "local-dir:/no-such", "primary model", "PIPELINE_PRIMARY_MODEL"),
        ("PIPELINE_FALLBACK_MODEL", "ViT-B-32", "fallback model", "PIPELINE_FALLBACK_MODEL"),
        ("DAGSTER_HOME", "no-such-folder", "Dagster", "DAGSTER_HOME"),
    ],
)
def test_doctor_names_what_is_wrong_and_the_setting_that_mends_it(
    empty: Path, monkeypatch: pytest.MonkeyPatch, field: str, value: str, what: str, mend: str
) -> None:
    """Everything else is looked at all the same."""
    assert not empty.exists()
    monkeypatch.setenv(field, value)
    finished = command("doctor", "--format", "json")
    assert finished.code == 1
    found = {each["what"]: each for each in json.loads(finished.out)}
    assert len(found) == 10
    assert [name for name, each in found.items() if not each["ok"]] == [what]
    assert mend in found[what]["mend"]


@pytest.mark.parametrize(
    ("settings", "arguments", "named"),
    [
        ({"PIPELINE_FEED": "no-such.csv"}, ("run", "--hour", HOUR), "no-such.csv"),
        ({"PIPELINE_FEED": ""}, ("run", "--hour", HOUR), "PIPELINE_FEED"),
        (
            {"PIPELINE_PRIMARY_MODEL": "no-such-model"},
            ("run", "--hour", HOUR),
            "PIPELINE_PRIMARY_MODEL='no-such-model' cannot be loaded",
        ),
        (
            {"PIPELINE_FALLBACK_MODEL": "local-dir:/no-such"},
            ("run", "--hour", HOUR),
            "PIPELINE_FALLBACK_MODEL='local-dir:/no-such' cannot be loaded",
        ),
        ({"DAGSTER_HOME": "no-such-folder"}, ("run", "--hour", HOUR), "DAGSTER_HOME"),
        ({"PIPELINE_START": "yesterday"}, ("quality",), "PIPELINE_START='yesterday'"),
        ({"PIPELINE_ACCELERATOR": "tpu"}, ("doctor",), "PIPELINE_ACCELERATOR='tpu'"),
        ({}, ("show", "no-such-item"), "'no-such-item'"),
    ],
    ids=str,
)
def test_an_error_is_one_line_that_names_the_value_at_fault(
    empty: Path,
    monkeypatch: pytest.MonkeyPatch,
    settings: dict[str, str],
    arguments: tuple[str, ...],
    named: str,
) -> None:
    """On stderr, with 1; never a traceback."""
    assert not empty.exists()
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    assert named in refused(command(*arguments))


def test_an_empty_dagster_home_is_none(empty: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As an empty variable is everywhere else."""
    assert not empty.exists()
    monkeypatch.setenv("DAGSTER_HOME", "")
    with running.instance() as dagster:
        assert dagster.is_ephemeral


def test_a_dagster_yaml_in_this_folder_keeps_the_runs(empty: Path) -> None:
    """So that a run of the command line is in the UI like any other."""
    shutil.copy(REPOSITORY / "dagster.yaml", Path.cwd())
    with running.instance() as dagster:
        assert not dagster.is_ephemeral
        assert running.run_rejects(dagster) == 0
        assert dagster.get_runs_count() == 1
    assert (empty / "dagster").is_dir()


@pytest.mark.parametrize(
    ("arguments", "settings", "code", "out", "err"),
    [
        (("--help",), {}, 0, "Usage: pipeline-assets", ""),
        (("quality", "--format", "json"), {}, 0, '"rows": 20', ""),
        (("show", "no-such-item"), {}, 1, "", "pipeline-assets: no hour has an item"),
        (("quality",), {"PIPELINE_LABELS": "one"}, 1, "", "pipeline-assets: PIPELINE_LABELS="),
        (("run", "--hour", "noon"), {}, 2, "", "'noon' is not a full hour"),
        (("no-such-command",), {}, 2, "", "No such command"),
    ],
    ids=str,
)
def test_a_process_ends_with_the_code_and_the_streams_that_scripts_expect(
    data: Path,
    arguments: tuple[str, ...],
    settings: dict[str, str],
    code: int,
    out: str,
    err: str,
) -> None:
    """0 well, 1 an error of ours, 2 a wrong use; stdout is for results only."""
    assert data.exists()
    finished = in_a_process(*arguments, **settings)
    assert finished.code == code, finished.err
    assert out in finished.out
    assert err in finished.err
    assert "Traceback" not in finished.err
    assert bool(finished.out) == (code == 0)


def test_a_reader_that_has_seen_enough_is_no_error(data: Path) -> None:
    """`pipeline-assets … | head -1` ends quietly."""
    assert data.exists()
    piped = subprocess.run(
        [
            "bash",
            "-c",
            'set -o pipefail; "$0" show "$1" --format json | head -c 1',
            SCRIPT,
            HOSTILE,
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert piped.stdout == "{"
    assert piped.stderr == ""


def test_every_command_explains_itself() -> None:
    """Down to the last subcommand."""
    runner = CliRunner()

    def explain(*path: str) -> None:
        result = runner.invoke(app, [*path, "--help"])
        assert result.exit_code == 0
        assert "Usage:" in result.output

    commands = ("demo", "doctor", "run", "plan", "quality", "show", "search", "forget", "retention")
    for command_path in commands:
        explain(command_path)
    for group, names in {
        "dead-letters": ("list", "requeue", "discard"),
        "breakers": ("list", "reset", "open"),
        "accelerator": ("status", "fail", "heal"),
    }.items():
        explain(group)
        for name in names:
            explain(group, name)
