"""What our dagster.yaml asks of Dagster, and what the assets ask of a backfill."""

import shutil
from collections.abc import Iterator

import dagster as dg
import pytest

from pipeline_assets.assets.stages import ACCELERATOR_POOL

# Dagster exports the enumeration nowhere, though dagster.yaml names its members.
from pipeline_assets.automation.dagster_internals import InstigatorType
from pipeline_assets.automation.health import limit_pool
from pipeline_assets.automation.launcher import WatchfulRunLauncher
from pipeline_assets.definitions import defs
from pipeline_assets_tests import REPOSITORY

DAGSTER_YAML = REPOSITORY / "dagster.yaml"
PARTITIONED = sorted(
    (spec for spec in defs.resolve_all_asset_specs() if spec.partitions_def is not None),
    key=lambda spec: spec.key.to_user_string(),
)


@pytest.fixture(scope="module")
def instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dg.DagsterInstance]:
    """An instance of our dagster.yaml."""
    home = tmp_path_factory.mktemp("home")
    shutil.copy(DAGSTER_YAML, home)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DAGSTER_HOME", str(home))
        patch.setenv("PIPELINE_DATA", str(home / "data"))
        patch.delenv("PIPELINE_DAGSTER_STORAGE_URL", raising=False)
        with dg.DagsterInstance.get() as opened:
            yield opened


def test_a_run_whose_process_died_is_found_and_started_again(instance: dg.DagsterInstance) -> None:
    """A run that failed by itself has said why, and is not."""
    assert instance.run_monitoring_enabled
    assert instance.run_monitoring_poll_interval_seconds == 60
    assert instance.run_monitoring_start_timeout_seconds == 180
    assert instance.run_monitoring_cancel_timeout_seconds == 180
    assert isinstance(instance.run_launcher, WatchfulRunLauncher)
    assert instance.run_launcher.supports_check_run_worker_health
    assert instance.run_retries_enabled
    assert instance.run_retries_max_retries == 2
    assert not instance.run_retries_retry_on_asset_or_op_failure


def test_what_a_dead_run_held_is_given_back(instance: dg.DagsterInstance) -> None:
    """Else its pool slots are held for good."""
    assert instance.run_monitoring_settings["free_slots_after_run_end_seconds"] == 300


def test_the_accelerators_pool_is_limited_before_its_first_run(
    instance: dg.DagsterInstance,
) -> None:
    """Else the queue would start all that wait for it at the time; a limit that is set stays."""
    storage = instance.event_log_storage
    assert storage.get_concurrency_keys() == set()
    limit_pool(instance)
    assert storage.get_concurrency_info(ACCELERATOR_POOL).slot_count == 1
    storage.set_concurrency_slots(ACCELERATOR_POOL, 2)
    limit_pool(instance)
    assert storage.get_concurrency_info(ACCELERATOR_POOL).slot_count == 2
    storage.delete_concurrency_limit(ACCELERATOR_POOL)


def test_one_run_for_each_hour_and_one_for_each_accelerator(instance: dg.DagsterInstance) -> None:
    """By the queue: of two runs of one hour the second waits until the first has ended."""
    config = instance.get_concurrency_config()
    assert config.run_queue_config is not None
    assert config.run_queue_config.tag_concurrency_limits == [
        {"key": "dagster/partition", "value": {"applyLimitPerUniqueValue": True}, "limit": 1}
    ]
    assert config.run_queue_config.max_concurrent_runs == 4
    assert config.pool_config.default_pool_limit == 1
    assert str(config.pool_config.pool_granularity).endswith("RUN")


def test_ticks_are_not_kept_for_ever(instance: dg.DagsterInstance) -> None:
    """A sensor that looks twice a minute leaves a million ticks a year."""
    for kind in ("sensor", "auto_materialize", "schedule"):
        days = instance.get_tick_retention_settings(InstigatorType[kind.upper()])
        assert all(0 < each <= 90 for each in days.values())


def test_nothing_is_sent_home(instance: dg.DagsterInstance) -> None:
    """Neither telemetry nor newsletters."""
    assert not instance.telemetry_enabled
    assert not instance.nux_enabled


@pytest.mark.parametrize(
    "spec",
    PARTITIONED,
    ids=lambda spec: spec.key.to_user_string(),
)
def test_a_backfill_has_a_run_for_each_hour(spec: dg.AssetSpec) -> None:
    """Which it has without a policy; with one, its runs have no partition that a limit could see.

    Of every asset alike, so that the assets of an hour share its run.
    """
    assert defs.resolve_asset_graph().get(spec.key).backfill_policy is None


def test_every_table_of_an_hour_is_partitioned() -> None:
    """The test above has something to look at."""
    names = {spec.key.to_user_string() for spec in PARTITIONED}
    assert {"items", "fetched", "enriched_items", "search_index", "quality_summary"} <= names
