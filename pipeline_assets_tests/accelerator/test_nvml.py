"""What NVML says of a GPU, over a library that stands in for a driver."""

from dataclasses import asdict

import pytest

from pipeline_assets.accelerator.nvml import (
    APPLICATION_XIDS,
    XIDS_A_LOOK,
    GpuNumbers,
    Nvml,
    look,
)
from pipeline_assets_tests.accelerator.fake_nvml import FakeLibrary

GPU = "GPU-fake"


@pytest.fixture
def library() -> FakeLibrary:
    """The library of a machine with one GPU."""
    return FakeLibrary()


@pytest.fixture
def nvml(library: FakeLibrary) -> Nvml:
    """A connection through it."""
    return Nvml(lambda: library)


def test_a_look_gives_every_number(nvml: Nvml) -> None:
    """In bytes, a share, degrees and counts."""
    assert nvml.look(GPU) == GpuNumbers(
        GPU,
        free_bytes=60 * 10**9,
        total_bytes=80 * 10**9,
        utilisation=0.25,
        temperature_c=41,
        ecc_uncorrected=0,
        xids=(),
        recovery="none",
    )


@pytest.mark.parametrize(
    ("lacking", "none"),
    [
        ("free_bytes", {"free_bytes", "total_bytes"}),
        ("busy_percent", {"utilisation"}),
        ("temperature_c", {"temperature_c"}),
        ("ecc_uncorrected", {"ecc_uncorrected"}),
        ("recovery", {"recovery"}),
    ],
)
def test_what_a_gpu_does_not_have_is_none_and_the_rest_is_there(
    library: FakeLibrary, nvml: Nvml, lacking: str, none: set[str]
) -> None:
    """Cards for games have no ECC, and a part of a card has no utilisation."""
    setattr(library, lacking, None)
    numbers = nvml.look(GPU)
    assert {name for name, value in asdict(numbers).items() if value is None} == none | {"missing"}


def test_an_xid_is_told_once_to_those_who_listened(library: FakeLibrary, nvml: Nvml) -> None:
    """What came before the first look nobody can know; each connection hears for itself."""
    library.xid(79)
    assert nvml.look(GPU).xids == ()
    other = Nvml(lambda: library)
    other.look(GPU)
    library.xid(31)
    library.xid(48)
    assert nvml.look(GPU).xids == (31, 48)
    assert nvml.look(GPU).xids == ()
    assert other.look(GPU).xids == (31, 48)


def test_only_xids_of_the_device_itself_are_critical() -> None:
    """A program's page fault says nothing of the device that met it."""
    assert GpuNumbers(xids=(31, 48, 13, 79)).critical_xids == (48, 79)
    assert GpuNumbers(xids=tuple(APPLICATION_XIDS)).critical_xids == ()
    assert GpuNumbers(xids=None).critical_xids == ()


@pytest.mark.parametrize(
    ("number", "recovery", "needed"),
    [
        (0, "none", False),
        (1, "reset", True),
        (2, "reboot", True),
        (3, "drain P2P", False),
        (4, "drain and reset", False),
        (7, "7", True),
    ],
)
def test_the_recovery_that_the_driver_calls_for_is_seen_by_whoever_looks(
    library: FakeLibrary, nvml: Nvml, number: int, recovery: str, needed: bool
) -> None:
    """Whenever its error came; one that this code does not know of is taken seriously."""
    library.recovery = number
    numbers = nvml.look(GPU)
    assert (numbers.recovery, numbers.needs_recovery) == (recovery, needed)


def test_a_storm_of_xids_does_not_keep_a_look_from_ending(library: FakeLibrary, nvml: Nvml) -> None:
    """The rest is for the next look."""
    nvml.look(GPU)
    for _ in range(XIDS_A_LOOK + 1):
        library.xid(48)
    assert len(nvml.look(GPU).xids or ()) == XIDS_A_LOOK
    assert nvml.look(GPU).xids == (48,)


def test_without_a_name_it_is_the_only_gpu_or_the_one_before(
    library: FakeLibrary, nvml: Nvml
) -> None:
    """A kernel that failed names no device; one of several must not be guessed at."""
    assert nvml.look(None).uuid == GPU
    library.devices = 8
    assert nvml.look(None).uuid == GPU
    stranger = Nvml(lambda: library).look(None)
    assert stranger.uuid is None
    assert "8 GPUs" in (stranger.missing or "")


def test_a_driver_that_goes_is_a_reason_and_one_that_comes_back_is_used(
    library: FakeLibrary, nvml: Nvml
) -> None:
    """Old handles are not trusted again: the connection is made anew, and listens again."""
    nvml.look(GPU)
    library.driver_loaded = False
    gone = nvml.look(GPU)
    assert gone == GpuNumbers(missing="NVMLError: Not Supported")
    assert nvml.look(GPU).missing
    library.driver_loaded = True
    assert nvml.look(GPU).xids == ()
    assert library.connections == 2
    library.xid(79)
    assert nvml.look(GPU).critical_xids == (79,)


def test_a_library_that_cannot_be_loaded_is_a_reason() -> None:
    """Looking never raises."""

    def absent() -> FakeLibrary:
        raise ModuleNotFoundError("No module named 'pynvml'")

    assert Nvml(absent).look(GPU).missing == "ModuleNotFoundError: No module named 'pynvml'"


def test_the_real_library_has_what_is_asked_of_it() -> None:
    """Every name that the fake has, so that it cannot stand in for what is not there."""
    pynvml = pytest.importorskip("pynvml")
    names = [name for name in dir(FakeLibrary) if name.lower().startswith("nvml")]
    assert len(names) > 10
    assert [name for name in names if not hasattr(pynvml, name)] == []
    assert issubclass(pynvml.NVMLError_Timeout, pynvml.NVMLError)
    numbers = [name for name in names if isinstance(getattr(FakeLibrary, name), int)]
    assert len(numbers) == 6
    for name in numbers:
        assert getattr(pynvml, name) == getattr(FakeLibrary, name)


def test_on_this_machine_a_look_gives_numbers_or_a_reason() -> None:
    """Whatever this machine is."""
    numbers = look(None)
    assert (numbers.total_bytes or 0) > 0 or numbers.missing
