"""The probe's kernel: real ones on this machine, and children that end otherwise."""

import sys

import pytest

from pipeline_assets.accelerator import kernel
from pipeline_assets.accelerator.kernel import CPU_NAME, in_child, run_kernel
from pipeline_assets.errors import Unavailable
from pipeline_assets_tests.lengths import HANG_S


def child(code: str, deadline_s: float = HANG_S) -> kernel.Kernel:
    """What a process that runs this Python says."""
    return in_child([sys.executable, "-c", code], deadline_s)


def test_the_cpus_kernel_runs_here_and_takes_no_time_to_speak_of() -> None:
    """Without torch, which would stay in the memory of whoever asks."""
    done = run_kernel("cpu")
    assert (done.name, done.uuid) == (CPU_NAME, None)
    assert 0 < done.seconds < HANG_S


def test_the_childs_kernel_runs_with_torch_and_says_how_long_it_took() -> None:
    """On the CPU it is the same program that a GPU gets."""
    done = in_child([sys.executable, "-m", kernel.__name__, "cpu"], HANG_S)
    assert done.name == CPU_NAME
    assert 0 < done.seconds < HANG_S


def test_a_device_that_is_not_there_is_unavailable_in_torchs_words() -> None:
    """In one line, with the type of its error."""
    with pytest.raises(Unavailable, match=r"^\w+: ") as caught:
        in_child([sys.executable, "-m", kernel.__name__, "cuda:99"], HANG_S)
    assert "\n" not in str(caught.value)


def test_a_wrong_product_is_unavailable() -> None:
    """A device that computes nonsense is worse than none."""
    with pytest.raises(Unavailable, match="nonsense"):
        kernel._timed(lambda: 1.0)


def test_a_child_that_dies_is_unavailable() -> None:
    """As a driver's crash ends one."""
    with pytest.raises(Unavailable, match="code -11"):
        child("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)")


def test_a_child_that_hangs_is_ended_at_the_deadline() -> None:
    """The caller goes on, and no process is left."""
    with pytest.raises(Unavailable, match=r"no result after 0\.2 s"):
        child("import time; time.sleep(600)", deadline_s=0.2)


def test_what_else_a_child_prints_is_no_result() -> None:
    """Neither nothing nor a stranger's words."""
    for said in ("", "print('hello')"):
        with pytest.raises(Unavailable, match="could not be read"):
            child(said)
