"""What is said when: once at the beginning, once at the end, never a storm, nothing lost."""

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline_assets.alerting.rules import (
    MOST_SAID,
    REPEAT_AFTER_S,
    SUMMARY,
    WINDOW_S,
    Alert,
    Remembered,
    Severity,
    decide,
    shortened,
)

TICK_S = 60.0


def alert(key: str = "run:hour/a", severity: Severity = Severity.ERROR, since: float = 0) -> Alert:
    """A condition."""
    return Alert(key, severity, f"{key} is wrong", "It happened.", "Mend it.", since)


def told(*looks: tuple[float, list[Alert]]) -> list[tuple[float, str]]:
    """When each message was sent, after looks at what stands at these times."""
    memory: dict[str, Remembered] = {}
    sent = []
    for now, standing in looks:
        memory, messages = decide(standing, memory, now)
        sent += [(now, message.title) for message in messages]
    return sent


def test_what_stands_is_said_once_and_once_that_it_is_over() -> None:
    """Not with every look."""
    looks = [(minute * TICK_S, [alert()] if 2 <= minute < 20 else []) for minute in range(40)]
    assert told(*looks) == [
        (2 * TICK_S, "run:hour/a is wrong"),
        (20 * TICK_S, "over: run:hour/a is wrong"),
    ]


def test_what_still_stands_is_said_once_a_day() -> None:
    """So that nobody forgets it, and nobody hears it twice a day."""
    hour = 3600.0
    looks = [(step * hour, [alert()]) for step in range(50)]
    assert told(*looks) == [
        (0, "run:hour/a is wrong"),
        (REPEAT_AFTER_S, "still: run:hour/a is wrong"),
        (2 * REPEAT_AFTER_S, "still: run:hour/a is wrong"),
    ]


def test_what_comes_and_goes_is_said_a_few_times_and_then_summed_up() -> None:
    """The message after the silence says how often it was so."""
    memory: dict[str, Remembered] = {}
    sent: list[tuple[float, Alert]] = []
    for minute in range(90):
        standing = [alert()] if minute % 2 == 0 else []
        memory, messages = decide(standing, memory, minute * TICK_S)
        sent += [(minute * TICK_S, message) for message in messages]
    assert [at for at, _ in sent[:MOST_SAID]] == [0, 60, 120, 180]
    assert sent[MOST_SAID][0] == WINDOW_S
    assert "came and went 28 more times" in sent[MOST_SAID][1].happened


def test_what_is_over_says_since_when_it_was_so_and_that_nothing_is_to_be_done() -> None:
    """With the times in UTC."""
    memory, _ = decide([alert(since=30)], {}, 60)
    _, (over,) = decide([], memory, 120)
    assert over.severity is Severity.INFO
    assert (over.happened, over.todo) == (
        "It began 1970-01-01T00:00:30Z and was no longer so 1970-01-01T00:02:00Z.",
        "Nothing.",
    )


def test_what_is_long_over_is_forgotten() -> None:
    """The memory does not grow for ever."""
    memory, _ = decide([alert()], {}, 0)
    memory, _ = decide([], memory, 60)
    assert memory
    memory, messages = decide([], memory, 60 + WINDOW_S)
    assert (memory, messages) == ({}, [])


def test_details_that_change_are_remembered_and_not_said() -> None:
    """The list of what stands is up to date; the message was sent."""
    memory, _ = decide([alert()], {}, 0)
    memory, messages = decide([replace(alert(), happened="More of it.")], memory, 60)
    assert messages == []
    assert memory["run:hour/a"].alert.happened == "More of it."


Looks = st.lists(st.sets(st.sampled_from(["run:a", "check:b", "hour:c"])), max_size=60)


@given(Looks, st.floats(1, 2000))
def test_a_condition_is_said_at_most_four_times_in_an_hour_and_never_lost(
    looks: list[set[str]], step: float
) -> None:
    """Whatever comes and goes: what was there is in some message once it is quiet again."""
    memory: dict[str, Remembered] = {}
    times: dict[str, list[float]] = {}
    now = 0.0
    for standing in [*looks, *[set[str]()] * (int(WINDOW_S / step) + 2)]:
        now += step
        memory, messages = decide([alert(key) for key in sorted(standing)], memory, now)
        for message in messages:
            times.setdefault(message.key, []).append(now)
    assert set(times) == set().union(*looks)
    for said in times.values():
        assert all(
            later - first >= WINDOW_S for first, later in zip(said, said[MOST_SAID:], strict=False)
        )
    assert all(not each.stands and not each.untold for each in memory.values())


Alerts = st.lists(
    st.builds(
        alert,
        st.builds("{}:{}".format, st.sampled_from(["run", "check", "new"]), st.integers(0, 40)),
        st.sampled_from(Severity),
        st.floats(0, 1e6),
    ),
    max_size=80,
)


@given(Alerts, st.integers(1, 10))
def test_of_many_at_most_n_and_one_are_sent_and_each_is_in_one(
    alerts: list[Alert], most: int
) -> None:
    """The gravest by themselves, the rest in one that counts them."""
    sent = shortened(alerts, most)
    assert len(sent) <= most + 1
    assert {key for message in sent for key in message.keys} == {each.key for each in alerts}
    single = Counter(message.severity for message in sent if message.key != SUMMARY)
    if len(alerts) > most + 1:
        errors = sum(each.severity is Severity.ERROR for each in alerts)
        assert single[Severity.ERROR] == min(errors, most)


@pytest.mark.parametrize(("count", "titles"), [(0, 0), (1, 1), (5, 5), (6, 6), (7, 6)])
def test_a_summary_of_one_is_that_one(count: int, titles: int) -> None:
    """It would say less than the message itself."""
    alerts = [alert(f"run:{number}") for number in range(count)]
    sent = shortened(alerts, 5)
    assert len(sent) == titles
    assert (sent[-1].key == SUMMARY if sent else False) == (count == 7)


def test_a_summary_counts_each_kind_and_names_the_first_ones() -> None:
    """What is over is not counted with what stands."""
    alerts = [alert(f"run:{number:02}", since=number) for number in range(42)]
    over = replace(alert("check:x", Severity.INFO), title="over: check:x is wrong")
    summary = shortened([*alerts, over], 5)[-1]
    assert summary.title == "and 38 more: 37 failed runs, 1 failed checks that are over"
    assert summary.happened.startswith(
        "37 failed runs since 1970-01-01T00:00:05Z: run:05 is wrong; run:06 is wrong;"
    )
    assert " and 27 more." in summary.happened
    assert "`pipeline-assets alerts`" in summary.todo
