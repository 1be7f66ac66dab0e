"""A disk that fills up, and shards that went bad on it."""

import re
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from pipeline_assets_tests.crash.run import FAILED
from pipeline_assets_tests.crash.scene import Scene, scene_of
from pipeline_assets_tests.crash.stage import MICRO_BATCH, SLOW_S

ROWS = 1000
FULL = re.compile(
    r"^cannot write \S+: (No space left on device|database or disk is full)"
    r"\. Committed rows are safe"
)
SLOW = {SLOW_S: "0.05"}


@pytest.fixture(params=[0, 2], ids="workers={}".format)
def small(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Scene]:
    """An hour on a real disk of 4 MB. Skipped where none may be mounted."""
    data = tmp_path / "data"
    data.mkdir()
    try:
        command = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(data)]
        mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("mount is not installed")
    if mounted.returncode != 0:
        pytest.skip(f"no disk may be mounted here: {mounted.stderr.strip()}")
    try:
        yield scene_of(tmp_path, ROWS, request.param)
    finally:
        # Not at once where the garbage collector still holds a file open.
        subprocess.run(["umount", "--lazy", data], check=True)


def fill(folder: Path) -> Path:
    """Take all the space that is left."""
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file:
        for size in (65536, 512):
            with suppress(OSError):
                while True:
                    file.write(bytes(size))
    return filler


def test_a_full_disk_ends_the_run_with_a_line_and_the_next_goes_on_from_there(small: Scene) -> None:
    """Finished rows stay; with space again, only what was in flight is done again."""
    run = small.start(**SLOW)
    small.wait_for_shards(4, run)
    filler = fill(small.data)
    assert run.ended() == FAILED, small.said()
    assert "Traceback" not in small.said()
    last = small.said().splitlines()[-1]
    assert FULL.search(last), last
    durable = small.shards()
    assert len(durable) > 3
    filler.unlink()
    small.finish()
    assert small.shouts() == small.made()
    assert 0 < small.redone() <= MICRO_BATCH * max(1, small.workers)


def test_damaged_shards_are_thrown_away_and_only_their_rows_are_done_again(tmp_path: Path) -> None:
    """One cut short, one with a flipped bit; a killed writer's half of a shard is collected."""
    scene = scene_of(tmp_path, ROWS)
    run = scene.start(**SLOW)
    scene.wait_for_shards(5, run)
    run.kill()
    in_flight = scene.called().total() - MICRO_BATCH * len(scene.shards())
    folder = next((scene.data / "work").rglob("*.arrow")).parent
    short, flipped, *_others = sorted(folder.glob("*.arrow"))
    short.write_bytes(short.read_bytes()[:-1])
    content = bytearray(flipped.read_bytes())
    content[len(content) // 2] ^= 1
    flipped.write_bytes(content)
    orphan = folder / ".000009-0.arrow.1.tmp"
    orphan.write_bytes(b"half")
    scene.finish()
    for damaged in (short, flipped):
        assert f"throwing away the damaged shard {damaged}: its rows are redone" in scene.said()
    assert not orphan.exists()
    assert scene.shouts() == scene.made()
    assert scene.redone() == in_flight + 2 * MICRO_BATCH
