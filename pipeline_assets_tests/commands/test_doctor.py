"""`doctor`: what is wrong and how to mend it. It never raises."""

import shutil
from collections import namedtuple
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from pipeline_assets.adapters.accelerator import Fault, InjectedFault
from pipeline_assets.commands import doctor as doctor_module
from pipeline_assets.commands.doctor import MAX_CLOCK_SKEW_S, Finding, doctor
from pipeline_assets.resources import Resources
from pipeline_assets_tests.conftest import Goods, Platform
from pipeline_assets_tests.postgres import Postgres, Stoppable

Usage = namedtuple("Usage", "total used free")
DAGSTER_YAML = Path(__file__).parents[2] / "dagster.yaml"


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
    """Eight looks, each saying what it saw, and none leaves a file behind."""
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
    monkeypatch.setattr("pipeline_assets.adapters.state.RESTART_S", 0.0)
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
