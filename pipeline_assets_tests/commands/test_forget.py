"""`forget`, from its arguments to what is left on the disk."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline_assets.sample.shop import Shop
from pipeline_assets_tests import hours
from pipeline_assets_tests.conftest import HOUR
from pipeline_assets_tests.hours import command
from pipeline_assets_tests.lengths import IS_LONG

ITEM, NAME = "Zanzibar-7731", "Quokkapot of Zanzibar"
NOT_OURS = ("feed.csv", "dagster")
"""What the command says that it does not touch."""

DYING = """
import os, signal
from pipeline_assets.upkeep import forgetting
from pipeline_assets.cli import main
step = getattr(forgetting, {step!r})
def die(*_arguments):
    os.kill(os.getpid(), signal.SIGKILL)
setattr(forgetting, {step!r}, die)
main()
"""


@pytest.fixture
def data(tmp_path: Path, shop: Shop) -> Iterator[Path]:
    """A finished hour with an item to forget, run as people run it."""
    data = tmp_path / "data"
    goods = hours.goods_of_an_hour(shop.url, 6)
    hours.write_goods(data, [*goods, replace(goods[0], item_id=ITEM, name=NAME)])
    values = {**hours.environment_of(data, shop.url), "PIPELINE_WORKERS": "0"}
    with hours.environment(values, tmp_path):
        assert command("run", "--hour", HOUR).code == 0
        yield data


def files_with(data: Path, text: str) -> set[str]:
    """The parts of the data root of which some file has a text."""
    return {
        path.relative_to(data).parts[0]
        for path in data.rglob("*")
        if path.is_file() and text.encode() in path.read_bytes()
    }


def test_the_item_is_in_nothing_of_ours(data: Path) -> None:
    """In numbers and in words; it does not come back with the next run."""
    assert {"tables", "search"} <= files_with(data, ITEM)
    done = command("forget", ITEM, "--yes", "--format", "json")
    assert done.code == 0, done.err
    said = json.loads(done.out)
    assert said["left"] == {}
    assert {"items", "fetched", "item_features", "search index"} <= said["removed"].keys()
    assert said["hours"] == [HOUR]
    assert "kept out from now on, whatever the feed has" in said["said"]
    assert files_with(data, ITEM) <= {*NOT_OURS}
    assert command("show", ITEM).code == 1
    assert command("run", "--hour", HOUR).code == 0
    assert files_with(data, NAME) <= {*NOT_OURS}
    assert (
        json.loads(command("search", "Quokkapot", "--mode", "keyword", "--format", "json").out)
        == []
    )


def test_somebody_is_asked_first(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And told what would go; without an answer nothing does."""
    before = files_with(data, ITEM)
    monkeypatch.setattr("sys.stdin", open(os.devnull))  # noqa: SIM115, PTH123 - nobody answers
    refused = command("forget", ITEM)
    assert refused.code == 1
    assert "items 1" in refused.err
    assert files_with(data, ITEM) == before
    assert json.loads(command("show", ITEM, "--format", "json").out)["item_id"] == ITEM


@pytest.mark.parametrize(
    "step", ["_erased", *(["_erased_from_index", "compact"] if IS_LONG else [])]
)
def test_a_killed_one_is_finished_by_the_same_command(data: Path, step: str) -> None:
    """By SIGKILL, with all that it holds."""
    dying = [sys.executable, "-c", DYING.format(step=step), "forget", ITEM, "--yes"]
    assert subprocess.run(dying, check=False).returncode == -signal.SIGKILL
    assert files_with(data, ITEM) - {*NOT_OURS}
    done = command("forget", ITEM, "--yes")
    assert done.code == 0, done.err
    assert files_with(data, ITEM) <= {*NOT_OURS}
