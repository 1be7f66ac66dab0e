"""When the accelerator is trusted, by table and by property."""

from itertools import accumulate, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline_assets.accelerator.health import HEALTHY_PROBES, NEVER_PROBED, HealthState, observe

STEP_S = 30.0
probes = st.lists(st.booleans(), max_size=40)
needed = st.integers(1, 6)


def history(probes: list[bool], k: int) -> list[HealthState]:
    """The states that probes leave, the first one before any; they are 30 s apart."""
    return list(
        accumulate(
            enumerate(probes, start=1),
            lambda state, probe: observe(
                state, probe[1], None if probe[1] else "ill", probe[0] * STEP_S, k
            ),
            initial=NEVER_PROBED,
        )
    )


@pytest.mark.parametrize(
    ("probes", "state"),
    [
        ("", HealthState(True, 0, 0.0, 0, None)),
        ("+", HealthState(True, 0, 0.0, 1, None)),
        ("+++++", HealthState(True, 0, 0.0, 5, None)),
        ("-", HealthState(False, 0, 30.0, 0, "ill")),
        ("++-", HealthState(False, 0, 90.0, 0, "ill")),
        ("---", HealthState(False, 0, 30.0, 0, "ill")),
        ("-++", HealthState(False, 0, 30.0, 2, "ill")),
        ("-+++", HealthState(True, 1, 120.0, 3, None)),
        ("-++++", HealthState(True, 1, 120.0, 4, None)),
        ("-++-++", HealthState(False, 0, 30.0, 2, "ill")),
        ("-++-+++", HealthState(True, 1, 210.0, 3, None)),
        ("-+++-", HealthState(False, 1, 150.0, 0, "ill")),
        ("-+++-+++", HealthState(True, 2, 240.0, 3, None)),
    ],
)
def test_one_bad_probe_ends_the_trust_and_three_good_ones_bring_it_back(
    probes: str, state: HealthState
) -> None:
    """`since` and `epoch` change with the health and at no other time."""
    assert HEALTHY_PROBES == 3
    assert history([probe == "+" for probe in probes], HEALTHY_PROBES)[-1] == state


def test_the_reason_is_that_of_the_latest_bad_probe() -> None:
    """It stays while good ones are counted, and goes with the illness."""
    ill = observe(observe(NEVER_PROBED, False, "no memory", 1.0, 2), False, "not there", 2.0, 2)
    assert ill.reason == "not there"
    better = observe(ill, True, None, 3.0, 2)
    assert better.reason == "not there"
    assert observe(better, True, None, 4.0, 2).reason is None


@given(probes, needed)
def test_it_is_healthy_if_and_only_if_the_last_illness_is_k_good_probes_ago(
    probes: list[bool], k: int
) -> None:
    """Or if there never was one."""
    for count, state in enumerate(history(probes, k)):
        seen = probes[:count]
        good = count if all(seen) else seen[::-1].index(False)
        assert state.healthy is (all(seen) or good >= k)
        assert state.streak == good


@given(probes, needed)
def test_the_epoch_grows_by_one_with_each_recovery_and_at_no_other_time(
    probes: list[bool], k: int
) -> None:
    """So that it names one time of good health."""
    for before, after in pairwise(history(probes, k)):
        recovered = after.healthy and not before.healthy
        assert after.epoch == before.epoch + recovered
        assert after.recovered is (after.healthy and after.epoch > 0)


@given(probes, needed)
def test_since_is_when_the_health_last_changed(probes: list[bool], k: int) -> None:
    """Zero while it never has."""
    states = history(probes, k)
    changes = [
        at * STEP_S
        for at, (before, after) in enumerate(pairwise(states), start=1)
        if before.healthy is not after.healthy
    ]
    assert states[-1].since == (changes[-1] if changes else 0.0)


@given(probes, needed)
def test_two_stretches_of_health_or_illness_never_have_the_same_name(
    probes: list[bool], k: int
) -> None:
    """The sensor knows by it what it has told."""
    states = history(probes, k)
    stretches = [states[0].name]
    for before, after in pairwise(states):
        assert (before.name == after.name) is (before.healthy is after.healthy)
        if before.name != after.name:
            stretches.append(after.name)
    assert len(set(stretches)) == len(stretches)


@given(probes, needed)
def test_there_is_a_reason_if_and_only_if_it_is_ill(probes: list[bool], k: int) -> None:
    """Illness without a reason helps nobody at 3 am."""
    for state in history(probes, k):
        assert (state.reason is None) is state.healthy
