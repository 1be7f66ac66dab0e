"""The public face: what it has, what it costs to import, and that another location builds on it."""

import re
import subprocess
import sys
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from pipeline_assets import api
from pipeline_assets.errors import RowError
from pipeline_assets_tests import REPOSITORY, hours
from pipeline_assets_tests.conftest import HOUR, FickleShop, Goods

PAGE = (REPOSITORY / "docs" / "adding-a-stage.md").read_text()
LOCATION = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)[2]
PREFIX = "enrichment"

NAMES = """
    Agreement Backoff Blocked BreakerRule DataError Forbidden InvalidInput Made Network NotFound
    Outcome OverBudget Overloaded RateLimited ResourceExhausted RowError Rung Settings
    SettingsError Stage Timeout TooLarge TransientError Unavailable Unsupported Work
    build_definitions from_http_status load_settings parse_retry_after row_by_row same same_words
    tool
"""


def test_the_names_are_these() -> None:
    """One that goes, or changes its name, breaks somebody's stage."""
    assert sorted(api.__all__) == sorted(NAMES.split())
    assert all(hasattr(api, name) for name in api.__all__)


@pytest.mark.parametrize("name", sorted(set(NAMES.split()) - {"Outcome"}))
def test_each_says_what_it_is(name: str) -> None:
    """In words of its own, and not those that Python makes for a dataclass."""
    said = getattr(api, name).__doc__
    assert said
    assert not (is_dataclass(getattr(api, name)) and said.startswith(f"{name}("))


def test_every_error_of_a_row_that_a_rung_may_give_is_there() -> None:
    """Those that only the platform gives are not."""

    def below(error: type[RowError]) -> set[str]:
        return {error.__name__}.union(*(below(each) for each in error.__subclasses__()))

    given = below(api.DataError) | below(api.TransientError)
    assert {name for name in given if not name.startswith("_")} <= set(api.__all__)


def test_to_import_it_loads_neither_dagster_nor_a_model() -> None:
    """A worker process imports the modules of stages, and these import it."""
    heavy = "{'dagster', 'torch', 'open_clip', 'great_expectations', 'duckdb', 'faiss'}"
    code = f"import sys, pipeline_assets.api; print(sorted({heavy} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_another_locations_assets_build_on_ours(
    tmp_path: Path, shop: FickleShop, goods: Goods
) -> None:
    """As the page shows it: merged, under a prefix, with the settings that were given."""
    data = tmp_path / "data"
    hours.write_goods(data, [goods.product("a"), goods.product("gone", image_fault="404")])
    values = {**hours.environment_of(data, shop.url), "PIPELINE_WORKERS": "0"}
    with hours.environment(values, tmp_path):
        namespace: dict[str, Any] = {"__name__": "a_location"}
        exec(LOCATION, namespace)  # noqa: S102 - our own page
    defs: dg.Definitions = namespace["defs"]
    keys = {spec.key.to_user_string() for spec in defs.resolve_all_asset_specs()}
    assert f"{PREFIX}/enriched_items" in keys
    assert all(key.startswith(f"{PREFIX}/") for key in keys - {"good_items"})
    # In an environment that says otherwise: runs go by the settings that the location was made of.
    with hours.environment({"PIPELINE_DATA": str(tmp_path / "elsewhere")}, tmp_path):
        result = dg.materialize(
            [*(defs.assets or ()), *(defs.asset_checks or ())],  # type: ignore[list-item]
            selection=dg.AssetSelection.assets("good_items").upstream(),
            partition_key=HOUR,
            run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
        )
    assert result.success
    (made,) = result.asset_materializations_for_node("good_items")
    assert made.metadata["items"].value == 1
    assert not (tmp_path / "elsewhere").exists()


def test_the_jobs_and_sensors_of_a_prefixed_location_are_about_its_own_assets(
    tmp_path: Path,
) -> None:
    """And not about those of whoever merged it."""
    with hours.environment({"PIPELINE_DATA": str(tmp_path)}, tmp_path):
        ours = api.build_definitions(key_prefix=[PREFIX])
        other = dg.asset(name="other", partitions_def=dg.DailyPartitionsDefinition("2026-01-01"))
        defs = dg.Definitions.merge(ours, dg.Definitions(assets=[other(lambda: None)]))
        for job in ("hour", "heal", "drill", "rejects", "clean_up"):
            selected = defs.resolve_job_def(job).asset_layer.selected_asset_keys
            assert selected
            assert {key.path[0] for key in selected} == {PREFIX}
        assert defs.resolve_sensor_def("heal_low_quality_partitions").job_name == "heal"
