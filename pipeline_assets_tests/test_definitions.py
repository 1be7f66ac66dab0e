"""What Dagster loads, and what loading it costs."""

import json
import os
import subprocess
import sys

import dagster as dg
import pyarrow as pa
import pytest

from pipeline_assets.core.names import (
    ACCELERATOR,
    ENRICHED,
    FALLBACK_DRILL,
    ITEMS,
    REJECTS,
    RETENTION,
)
from pipeline_assets.definitions import build_definitions, defs
from pipeline_assets.drill.forcing import SCHEMA as DRILL_SCHEMA
from pipeline_assets.errors import SettingsError
from pipeline_assets.ingest.items import REJECTS_SCHEMA, SCHEMA
from pipeline_assets.stages import STAGES
from pipeline_assets_tests import REPOSITORY

MODULE = "pipeline_assets.definitions"
HEAVY = ("torch", "torchvision", "open_clip", "great_expectations", "faiss", "trafilatura")
GROUPS = {
    "ingest": {"items", "feed_rejects", "fetched", "validated"},
    "enrichment": {"extracted_text", "image_labels", "embeddings"},
    "store": {"enriched_items"},
    "search": {"search_index"},
    "platform": {"accelerator", "retention"},
    "monitoring": {
        *("quality_summary", "retry_queue", "dead_letters", "drift", "reliability"),
        *("item_features", "hour_statistics"),
        *("recovery", "fallback_drill"),
    },
}
DEPENDENCIES = {
    "items": set(),
    "fetched": {"items"},
    "validated": {"fetched"},
    "extracted_text": {"validated"},
    "image_labels": {"validated"},
    "embeddings": {"validated", "extracted_text", "image_labels"},
    "enriched_items": {"extracted_text", "image_labels", "embeddings"},
    "search_index": {"enriched_items"},
    "quality_summary": {"enriched_items"},
    "retry_queue": {"enriched_items"},
    "dead_letters": {"enriched_items"},
    "item_features": {"enriched_items"},
    "hour_statistics": {"enriched_items", "item_features"},
    "drift": {"item_features"},
    "reliability": {"enriched_items", "recovery", "search_index"},
    "recovery": {"enriched_items"},
}
"""The arrows of the picture that a table must have; some read further tables too."""

SCHEMAS = {
    ITEMS: SCHEMA,
    REJECTS: REJECTS_SCHEMA,
    FALLBACK_DRILL: DRILL_SCHEMA,
    **{stage.name: stage.schema for stage in STAGES},
}
SPECS = {spec.key.to_user_string(): spec for spec in defs.resolve_all_asset_specs()}


def load(**settings: str) -> subprocess.CompletedProcess[str]:
    """Load the definitions in a process of their own and print the modules that came along."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PIPELINE_")}
    code = f"import json, sys, {MODULE}; print(json.dumps(sorted(sys.modules)))"
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**clean, **settings},
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )


def test_loading_imports_no_heavy_library() -> None:
    """Every code server and every run pays for this; the benchmark has the figure."""
    loaded = load()
    assert loaded.returncode == 0, loaded.stderr
    modules = set(json.loads(loaded.stdout))
    assert MODULE in modules
    assert not modules & set(HEAVY)


def test_bad_settings_stop_the_load_in_a_line_that_names_the_field() -> None:
    """The last line of what Dagster shows says what to mend."""
    loaded = load(PIPELINE_START="yesterday")
    assert loaded.returncode != 0
    last = loaded.stderr.strip().splitlines()[-1]
    assert "PIPELINE_START='yesterday' is not usable" in last


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("PIPELINE_START", "yesterday"),
        ("PIPELINE_START", "2026-03-02T06:30:00Z"),
        ("PIPELINE_ACCELERATOR", "tpu"),
        ("PIPELINE_QUALITY_THRESHOLD", "1.5"),
        ("PIPELINE_LABELS", "only"),
        ("PIPELINE_FETCH_ALLOW", "10.0.0.0/33"),
        ("PIPELINE_ENGINE", "spark"),
        ("PIPELINE_DATA", __file__),
    ],
)
def test_each_bad_setting_is_named_with_its_value(
    field: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is loaded with a setting that means something else than it says."""
    monkeypatch.setenv(field, value)
    with pytest.raises(SettingsError, match=field) as caught:
        build_definitions()
    assert value in str(caught.value)


def test_the_assets_are_those_of_the_picture() -> None:
    """And one for rows in no hour, the drills, what is let go, and the device, only observed."""
    assert set(SPECS) == {*DEPENDENCIES, REJECTS, FALLBACK_DRILL, RETENTION, ACCELERATOR}


@pytest.mark.parametrize("name", DEPENDENCIES)
def test_an_asset_depends_on_what_the_picture_says(name: str) -> None:
    """On these at least; a table may read further ones upstream."""
    upstream = {dep.asset_key.to_user_string() for dep in SPECS[name].deps}
    assert upstream >= DEPENDENCIES[name]
    assert upstream <= set(DEPENDENCIES) - {name}


@pytest.mark.parametrize("name", DEPENDENCIES)
def test_an_asset_has_a_partition_for_each_hour(name: str) -> None:
    """Keys are `YYYY-MM-DD-HH` in UTC, from the start of the settings on."""
    hours = SPECS[name].partitions_def
    assert isinstance(hours, dg.HourlyPartitionsDefinition)
    assert hours.get_first_partition_key() == "2026-01-01-00"
    assert hours.timezone == "UTC"
    assert hours.has_partition_key("2026-03-02-06")
    assert not hours.has_partition_key("2026-03-02-06:00")


def test_the_drill_reads_every_stage_that_has_a_fallback_and_has_no_hour() -> None:
    """Those of the newest hours."""
    spec = SPECS[FALLBACK_DRILL]
    assert spec.partitions_def is None
    assert {dep.asset_key.to_user_string() for dep in spec.deps} == {
        stage.name for stage in STAGES if len(stage.rungs) > 1
    }


def test_the_feeds_rejects_have_no_hour() -> None:
    """That is what is wrong with most of them."""
    assert SPECS[REJECTS].partitions_def is None


def test_every_asset_has_group_owner_kinds_and_description() -> None:
    """So that the UI says what it is and whom to ask."""
    groups: dict[str, set[str]] = {}
    for name, spec in SPECS.items():
        groups.setdefault(str(spec.group_name), set()).add(name)
        assert spec.owners, name
        assert spec.kinds & {"parquet", "sqlite", "gpu"}, name
        assert spec.description, name
    assert groups == GROUPS


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_stage_table_shows_the_columns_of_its_schema(name: str) -> None:
    """Names, types and nullability, in the order of the file, and what each holds."""
    shown = SPECS[name].metadata["dagster/column_schema"]
    assert isinstance(shown, dg.TableSchema | dg.TableSchemaMetadataValue)
    columns = (shown if isinstance(shown, dg.TableSchema) else shown.value).columns
    assert [(each.name, each.type, each.constraints.nullable) for each in columns] == [
        (field.name, str(field.type), field.nullable) for field in SCHEMAS[name]
    ]
    assert all(each.description for each in columns)


def test_no_column_of_any_schema_is_null_typed() -> None:
    """A table is typed from its first row on."""
    assert not [
        (name, field.name)
        for name, schema in SCHEMAS.items()
        for field in schema
        if pa.types.is_null(field.type)
    ]


def test_stages_with_an_accelerated_rung_share_a_pool() -> None:
    """And only those wait for it."""
    graph = defs.get_repository_def().asset_graph
    pools = {name: graph.get(dg.AssetKey(name)).pools for name in SPECS}
    assert {name for name, found in pools.items() if found == {"accelerator"}} == {
        "image_labels",
        "embeddings",
    }
    assert {name for name, found in pools.items() if found} == {"image_labels", "embeddings"}


def test_every_stage_table_has_a_structure_check_and_the_items_a_quality_check() -> None:
    """Structure blocks what depends on it, quality warns."""
    graph = defs.get_repository_def().asset_graph
    blocking = {
        (key.asset_key.to_user_string(), key.name): graph.get_check_spec(key).blocking
        for key in graph.asset_check_keys
    }
    structured = [ITEMS, *(stage.name for stage in STAGES)]
    assert blocking == {
        **{(name, "structure"): True for name in structured},
        **{(stage.name, "no_bugs"): False for stage in STAGES},
        **{(stage.name, "quality"): False for stage in STAGES},
        (ITEMS, "volume"): False,
        ("drift", "no_drift"): False,
        (ENRICHED, "latest_hour_is_there"): False,
        (FALLBACK_DRILL, "fallbacks_work"): False,
    }


def test_the_job_of_an_hour_has_every_partitioned_asset() -> None:
    """The rejects and the drill have jobs of their own."""
    layer = defs.resolve_job_def("hour").asset_layer
    assert {key.to_user_string() for key in layer.selected_asset_keys} == set(DEPENDENCIES)


def test_each_job_has_a_schedule() -> None:
    """They are off until somebody turns them on."""
    schedules = defs.get_repository_def().schedule_defs
    assert {each.name: each.job_name for each in schedules} == {
        "hourly": "hour",
        "hourly_rejects": "rejects",
        "hourly_freshness": "freshness",
        "weekly_drill": "drill",
        "daily_retention": "clean_up",
    }
    assert {each.default_status for each in schedules} == {dg.DefaultScheduleStatus.STOPPED}


def test_everything_loads_as_the_code_server_loads_it() -> None:
    """A job and an asset of one name are two definitions of an op, which shows only there."""
    defs.get_repository_def().load_all_definitions()
