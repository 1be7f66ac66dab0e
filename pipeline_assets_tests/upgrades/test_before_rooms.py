"""The version before the package had rooms: what it made is used as if nothing had happened.

`before_rooms.tar.xz` is a small installation, made by commit 2a311b7 through the command line on a
host called enrichment: an hour that is finished, with a dead letter that somebody discarded; one
of the night when the accelerator ran out of memory after four rows; one whose run was killed when
its first table was about to be published. A breaker was forced open, and an item forgotten.
"""

import json
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from pipeline_assets.core.breaker import Mode
from pipeline_assets.resources import opened
from pipeline_assets_tests import REPOSITORY, hours
from pipeline_assets_tests.hours import Finished, command

ARCHIVE = Path(__file__).with_name("before_rooms.tar.xz")
GOOD, DEGRADED, KILLED = "2026-03-02-06", "2026-03-02-07", "2026-03-02-08"
HEALED = ("image_labels", "embeddings")
CLOSED_SHOP = "http://127.0.0.1:8711"
"""Where the goods were; nobody answers there, so that whatever were fetched again would fail."""


@dataclass(frozen=True)
class Upgraded:
    """The installation after this version has run each of its hours."""

    before: dict[str, list[dict[str, Any]]]
    data: Path
    ran: Finished

    def rows(self, asset: str, hour: str) -> list[dict[str, Any]]:
        """A table as it is now."""
        return hours.table(self.data, asset, hour)

    def changed(self, asset: str, hour: str) -> list[tuple[dict[str, Any], dict[str, Any]]]:
        """The rows that are other ones now, before and after."""
        pairs = zip(self.before[f"{asset}/{hour}"], self.rows(asset, hour), strict=True)
        return [(before, after) for before, after in pairs if before != after]


@pytest.fixture(scope="module")
def upgraded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Upgraded]:
    """Unpacked, the accelerator well again, and run."""
    home = tmp_path_factory.mktemp("before_rooms")
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(home, filter="data")
    (home / "dagster.yaml").write_bytes((REPOSITORY / "dagster.yaml").read_bytes())
    before = {
        f"{path.parts[-3]}/{path.parts[-2].removeprefix('hour=')}": hours.table(
            home / "data", path.parts[-3], path.parts[-2].removeprefix("hour=")
        )
        for path in (home / "data" / "tables").glob("*/hour=2026*/part.parquet")
    }
    environment = {
        **hours.environment_of(Path("data"), CLOSED_SHOP, Path("feed.csv")),
        "PIPELINE_START": "2026-03-02T06:00:00Z",
        "DAGSTER_HOME": str(home),
    }
    with hours.environment(environment, home):
        healed = command("accelerator", "heal")
        assert healed.code == 0, healed.err
        ran = command("run", "--from", GOOD, "--to", KILLED, "--format", "json")
        yield Upgraded(before, home / "data", ran)


def test_the_hours_run(upgraded: Upgraded) -> None:
    """Each as one run of Dagster's, in the home with the runs of before."""
    assert upgraded.ran.code == 0, upgraded.ran.err
    with dg.DagsterInstance.get() as instance:
        statuses = [run.status for run in instance.get_runs()]
    assert statuses.count(dg.DagsterRunStatus.SUCCESS) > 3
    assert dg.DagsterRunStatus.STARTED in statuses  # the one that was killed


def test_nothing_good_is_redone(upgraded: Upgraded) -> None:
    """Not a row of the finished hour, and in the degraded one just what the outage hit."""
    tables = {key.split("/")[0] for key in upgraded.before} & {
        *("items", "fetched", "validated", "extracted_text", "image_labels", "embeddings")
    }
    assert {
        (asset, hour): len(upgraded.changed(asset, hour))
        for asset in tables
        for hour in (GOOD, DEGRADED)
        if upgraded.changed(asset, hour)
    } == {(asset, DEGRADED): 4 for asset in HEALED}


def test_what_was_degraded_is_healed(upgraded: Upgraded) -> None:
    """By the best rung, so that the hour is as good as the others."""
    for asset in HEALED:
        for before, after in upgraded.changed(asset, DEGRADED):
            assert before["quality"] < after["quality"] == 1.0, asset
    assert {row["quality"] for row in upgraded.rows("enriched_items", DEGRADED)} == {1.0}


def test_the_killed_hour_goes_on_from_its_shards(upgraded: Upgraded) -> None:
    """What was fetched then is there, though nobody answers now."""
    fetched = upgraded.rows("fetched", KILLED)
    assert len(fetched) == 8
    assert {row["status"] for row in fetched} == {"ok"}
    assert {row["run_id"] for row in fetched}.isdisjoint(
        {row["run_id"] for row in upgraded.rows("validated", KILLED)}
    )


def test_what_people_decided_stands(upgraded: Upgraded) -> None:
    """The discarded dead letter, the forced breaker, and the forgotten item."""
    letters = json.loads(command("dead-letters", "list", "--format", "json").out)
    assert [
        (letter["decision"], letter["why"]) for letter in letters if letter["item_id"] == "GONE-1"
    ] == [("discard", "sold out")]
    with opened() as resources:
        breaker = resources.breakers.load("fetched.http@gone.example")
        assert breaker.mode is Mode.FORCED_OPEN
    assert "LEAVES-1" not in {row["item_id"] for row in upgraded.rows("items", GOOD)}


@pytest.mark.usefixtures("upgraded")
def test_all_is_found() -> None:
    """Of the hours of before as of those that were run now."""
    found = json.loads(command("search", "red shirt", "--format", "json").out)
    assert {"A-1", "B-1"} <= {hit["item_id"] for hit in found}


def test_the_feeds_rejects_are_those_of_before(upgraded: Upgraded) -> None:
    """With their lines."""
    rejects = hours.table(upgraded.data, "feed_rejects", "all")
    assert [row["item_id"] for row in rejects] == ["NO-HOUR"]
