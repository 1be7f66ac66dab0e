"""The models of spaces that no setting names any more, with a loader and a clock of the tests'."""

from dataclasses import dataclass, field

import pytest

from pipeline_assets.models.clip import ModelNotLoaded
from pipeline_assets.models.earlier_models import TRY_AGAIN, EarlierModels, Named
from pipeline_assets_tests.conftest import Clock
from pipeline_assets_tests.models.fake_clip import FakeClip

SPACE = "first@00000001"
NAMES = (Named("local-dir:/first", "aaaa"),)


@dataclass
class Disk:
    """Models by name: what their files are, what loads from them, and what was asked for."""

    files: dict[str, str] = field(default_factory=lambda: {"local-dir:/first": "aaaa"})
    ids: dict[str, str] = field(default_factory=lambda: {"local-dir:/first": SPACE})
    error: Exception | None = None
    loads: list[str] = field(default_factory=list)

    def load(self, name: str) -> FakeClip:
        """The model, or the error."""
        self.loads.append(name)
        if self.error is not None:
            raise self.error
        return FakeClip(id=self.ids[name])

    def signature(self, name: str) -> str:
        """What its files are; nothing where there are none."""
        return self.files.get(name, "")


@pytest.fixture
def disk() -> Disk:
    """The first model, as it was."""
    return Disk()


@pytest.fixture
def models(disk: Disk, clock: Clock) -> EarlierModels:
    """Nothing was asked for yet."""
    return EarlierModels(disk.load, disk.signature, clock)


def test_a_model_is_loaded_once(models: EarlierModels, disk: Disk) -> None:
    """However often it is asked for."""
    assert {models.of(SPACE, NAMES) for _ in range(3)} == {FakeClip(id=SPACE)}
    assert len(disk.loads) == 1


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("can't allocate memory"),
        MemoryError(),
        KeyError("text_cfg"),
        AttributeError("visual"),
        ModelNotLoaded("PIPELINE_PRIMARY_MODEL", "local-dir:/first", "OSError: disk"),
    ],
    ids=repr,
)
def test_a_model_that_cannot_be_loaded_is_tried_again_after_a_while(
    models: EarlierModels,
    disk: Disk,
    clock: Clock,
    error: Exception,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """With one warning for each try, however many ask; what was wrong may be over by then."""
    disk.error = error
    assert [models.of(SPACE, NAMES) for _ in range(3)] == [None] * 3
    clock.advance(TRY_AGAIN.total_seconds())
    assert [models.of(SPACE, NAMES) for _ in range(3)] == [None] * 3
    assert len(disk.loads) == len(caplog.records) == 2
    assert "PIPELINE_PRIMARY_MODEL" not in caplog.text
    disk.error = None
    clock.advance(TRY_AGAIN.total_seconds())
    assert models.of(SPACE, NAMES) == FakeClip(id=SPACE)


def test_files_that_are_away_are_looked_for_again(
    models: EarlierModels, disk: Disk, clock: Clock
) -> None:
    """A disk may be mounted again."""
    there, disk.files = disk.files, {}
    assert models.of(SPACE, NAMES) is None
    disk.files = there
    clock.advance(TRY_AGAIN.total_seconds())
    assert models.of(SPACE, NAMES) is not None


def test_files_that_are_others_by_now_are_not_loaded(
    models: EarlierModels, disk: Disk, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """Said once, and not looked at again unless the space is known by another name."""
    disk.files["local-dir:/first"] = "bbbb"
    for _ in range(3):
        assert models.of(SPACE, NAMES) is None
        clock.advance(TRY_AGAIN.total_seconds())
    assert (disk.loads, len(caplog.records)) == ([], 1)
    disk.files["local-dir:/copy"] = "aaaa"
    disk.ids["local-dir:/copy"] = SPACE
    assert models.of(SPACE, (*NAMES, Named("local-dir:/copy", "aaaa"))) is not None


def test_a_published_model_that_is_another_by_now_is_loaded_once(
    models: EarlierModels, disk: Disk, caplog: pytest.LogCaptureFixture
) -> None:
    """It has no files to look at before."""
    disk.ids["hf-hub:shop/clip"] = "clip@00000002"
    published = (Named("hf-hub:shop/clip", ""),)
    assert [models.of(SPACE, published) for _ in range(3)] == [None] * 3
    assert (len(disk.loads), len(caplog.records)) == (1, 1)


def test_any_number_of_models_is_kept_while_their_spaces_have_items(
    models: EarlierModels, disk: Disk
) -> None:
    """No more is loaded for the second query; a space that is empty by now costs no memory."""
    known = {f"m@{n}": (Named(f"hf-hub:m/{n}", ""),) for n in range(9)}
    disk.ids.update({names[0].name: space for space, names in known.items()})
    for _ in range(3):
        models.keep(known)
        assert all(models.of(space, names) for space, names in known.items())
    assert len(disk.loads) == 9
    models.keep(["m@0"])
    assert all(models.of(space, names) for space, names in known.items())
    assert len(disk.loads) == 9 + 8


def test_a_space_whose_model_has_no_name_has_none(models: EarlierModels, disk: Disk) -> None:
    """It may have one by the next query: another process made its rows."""
    assert models.of(SPACE, ()) is None
    assert models.of(SPACE, NAMES) is not None
    assert len(disk.loads) == 1
