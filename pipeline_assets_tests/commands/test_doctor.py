"""`doctor`: what is wrong and how to mend it. It never raises."""

import shutil
import sqlite3
from collections import namedtuple
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from pipeline_assets.accelerator.accelerator import Fault, InjectedFault
from pipeline_assets.commands import doctor as doctor_module
from pipeline_assets.commands.doctor import MAX_CLOCK_SKEW_S, Finding, doctor
from pipeline_assets.commands.index import rebuild
from pipeline_assets.core.names import ENRICHED
from pipeline_assets.resources import Resources
from pipeline_assets.search import SearchIndex
from pipeline_assets_tests import REPOSITORY
from pipeline_assets_tests.conftest import HOUR, Goods, Platform
from pipeline_assets_tests.postgres import Postgres, Stoppable
from pipeline_assets_tests.search.samples import table

Usage = namedtuple("Usage", "total used free")
DAGSTER_YAML = REPOSITORY / "dagster.yaml"


@pytest.fixture(autouse=True)
def _away_from_the_projects_own_dagster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DAGSTER_HOME", raising=False)


@pytest.fixture
def well(platform: Platform, goods: Goods) -> Platform:
    """An installation with a feed."""
    platform.feed([goods.product("a")])
    return platform


def found(resources: Resources) -> dict[str, Finding]:
    """The findings by what was looked at."""
    return {finding.what: finding for finding in doctor(resources)}


def test_a_sound_installation_is_well_in_every_respect(well: Platform) -> None:
    """Ten looks, each saying what it saw, and none leaves a file behind."""
    findings = found(well.resources)
    assert {finding.what for finding in findings.values() if not finding.ok} == set()
    assert len(findings) == len(doctor_module.LOOKS)
    assert "item_id" in findings["feed"].found
    assert "sample-primary@" in findings["primary model"].found
    assert not list((well.resources.data / "work").iterdir())


def changed(resources: Resources, **settings: object) -> Resources:
    """The same with other settings."""
    return replace(resources, settings=resources.settings.model_copy(update=settings))


@pytest.mark.parametrize(
    ("settings", "what", "mend"),
    [
        ({"feed": ""}, "feed", "CSV, JSONL or Parquet"),
        ({"feed": "/no/such/feed.csv"}, "feed", "PIPELINE_FEED"),
        ({"primary_model": "no-such"}, "primary model", "PIPELINE_PRIMARY_MODEL"),
        ({"fallback_model": "no-such"}, "fallback model", "PIPELINE_FALLBACK_MODEL"),
        ({"data": Path("/proc/nowhere")}, "storage", "PIPELINE_DATA"),
        ({"state_url": "nosuch://x"}, "state database", "PIPELINE_STATE_URL"),
    ],
)
def test_a_wrong_setting_is_found_and_named(
    well: Platform, settings: dict[str, object], what: str, mend: str
) -> None:
    """The other looks go on."""
    findings = found(changed(well.resources, **settings))
    assert not findings[what].ok
    assert mend in (findings[what].mend or "")
    assert len(findings) == len(doctor_module.LOOKS)


def test_clocks_that_disagree_are_found(well: Platform) -> None:
    """Leases and breakers go by the database's."""
    late = timedelta(seconds=MAX_CLOCK_SKEW_S + 1)
    resources = replace(well.resources, clock=lambda: well.clock() + late)
    resources.__dict__["state"] = well.resources.state
    finding = found(resources)["clock"]
    assert not finding.ok
    assert "NTP" in (finding.mend or "")


def test_a_disk_that_is_nearly_full_is_found(
    well: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before it is full."""
    monkeypatch.setattr("shutil.disk_usage", lambda _path: Usage(10, 9, 1))
    finding = found(well.resources)["storage"]
    assert not finding.ok
    assert "free some space" in (finding.mend or "")


def test_a_fault_on_request_is_told_from_a_real_one(well: Platform) -> None:
    """And the message says what lifts it."""
    well.resources.accelerator.fail(InjectedFault(Fault.UNAVAILABLE))
    finding = found(well.resources)["accelerator"]
    assert not finding.ok
    assert "accelerator heal" in (finding.mend or "")


@pytest.fixture
def indexed(well: Platform) -> Platform:
    """An installation with an hour in the tables, and in the index."""
    well.items()
    well.run()
    rebuild(well.resources, [HOUR])
    return well


def of_the_index(platform: Platform) -> Finding:
    """What is said of the search index, without the other looks."""
    (look,) = (each for each in doctor_module.LOOKS if each[0] == "search index")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(doctor_module, "LOOKS", (look,))
        return found(platform.resources)["search index"]


def test_an_index_with_every_hour_is_well(indexed: Platform) -> None:
    """And it is said what is in it."""
    finding = of_the_index(indexed)
    assert finding.ok
    assert finding.found.endswith("search has 1 items of 1 hours")


def test_where_nothing_was_ever_enriched_no_index_is_missed(well: Platform) -> None:
    """It is made with the first hour."""
    finding = of_the_index(well)
    assert finding.ok
    assert finding.found == "not there yet; the first hour makes it"


def lost(folder: Path) -> None:
    """As after a restore of the tables alone."""
    shutil.rmtree(folder)


def damaged(folder: Path) -> None:
    """As after a disk that failed."""
    next(folder.glob("*/index.db")).write_bytes(b"not a database" * 1_000)


def older(folder: Path) -> None:
    """As after an upgrade."""
    with closing(sqlite3.connect(next(folder.glob("*/index.db")))) as connection:
        connection.execute("PRAGMA user_version = 1")


def lacking_an_hour(folder: Path) -> None:
    """As after a run that another host's index has seen."""
    SearchIndex(folder).replace_hour(HOUR, table())


@pytest.mark.parametrize(
    ("happened", "said"),
    [
        (lost, f"is not there, for 1 of the hours of enriched_items ({HOUR})"),
        (damaged, "cannot be read: file is not a database"),
        (older, "its schema has version 1, this program needs"),
        (lacking_an_hour, f"lacks 1 of the hours of enriched_items ({HOUR})"),
    ],
)
def test_an_index_that_would_not_answer_is_found_before_a_search(
    indexed: Platform, happened: Callable[[Path], None], said: str
) -> None:
    """And one command mends it, whatever it is."""
    happened(indexed.resources.data / "search")
    finding = of_the_index(indexed)
    assert not finding.ok
    assert said in finding.found
    assert "`pipeline-assets index rebuild`" in (finding.mend or "")
    rebuild(indexed.resources, indexed.resources.tables.hours(ENRICHED))
    assert of_the_index(indexed).ok


def test_of_many_hours_that_the_index_lacks_the_newest_are_named(
    well: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And it is said how many there are."""
    hours = [f"2026-03-02-{hour:02}" for hour in range(20)]
    monkeypatch.setattr(doctor_module, "missing", lambda *_: hours)
    said = "20 of the hours of enriched_items (2026-03-02-19, 2026-03-02-18, 2026-03-02-17, …)"
    assert said in of_the_index(well).found


def test_both_databases_are_looked_at_on_a_server_too(
    well: Platform, postgres: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And each is named, without its password."""
    url = postgres.schema_url().replace("postgres@", "postgres:hunter2@")
    resources = with_dagster_on(url, well.resources, tmp_path, monkeypatch)
    findings = found(resources)
    assert findings["state database"].ok
    assert findings["Dagster"].ok
    for what in ("state database", "Dagster"):
        assert "postgresql" in findings[what].found
        assert "hunter2" not in findings[what].found


def test_a_server_that_is_down_is_found_with_what_to_do(
    well: Platform, own_postgres: Stoppable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For either of the two databases; the rest is looked at all the same."""
    monkeypatch.setattr("pipeline_assets.state.database.RESTART_S", 0.0)
    resources = with_dagster_on(
        own_postgres.postgres.schema_url(), well.resources, tmp_path, monkeypatch
    )
    own_postgres.stop()
    findings = found(resources)
    for what in ("state database", "Dagster"):
        assert not findings[what].ok
        assert "start the" in (findings[what].mend or "")
        assert "server" in (findings[what].mend or "")
    assert findings["storage"].ok
    assert len(findings) == len(doctor_module.LOOKS)


def with_dagster_on(
    url: str, resources: Resources, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> Resources:
    """The same with both databases at this URL, and a home that has our dagster.yaml."""
    shutil.copy(DAGSTER_YAML, folder)
    monkeypatch.setenv("PIPELINE_DATA", str(resources.data))
    monkeypatch.setenv("PIPELINE_DAGSTER_STORAGE_URL", url)
    monkeypatch.setenv("DAGSTER_HOME", str(folder))
    return changed(resources, state_url=url, dagster_storage_url=url)
