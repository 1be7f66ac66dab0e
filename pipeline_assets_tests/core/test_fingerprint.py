"""Idempotency keys: which input and which maker a row stands for."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline_assets.core.fingerprint import DIGEST_BYTES, Keys, digest, same_input
from pipeline_assets.core.rows import Work
from pipeline_assets.core.stage import Stage
from pipeline_assets_tests.core.builders import make_rung, make_stage

FIELDS = ("items.image", "items.text", "labels.family")
STAGE = make_stage(
    make_rung("primary", reads=("items.image", "labels.family")),
    make_rung("fallback", reads=("items.image",)),
    make_rung("rules", reads=("items.text",)),
)


def work_of(*values: Any, blocked: str | None = None) -> Work:
    """Work with image, text and the label's family."""
    return Work(("a",), dict(zip(FIELDS, values, strict=True)), blocked)


WORK = work_of("a.jpg", "a chair", None)


def keys_of(stage: Stage = STAGE) -> Keys:
    """The keys of a stage."""
    return Keys.of(stage, None)


def halves(key: str) -> tuple[str, str]:
    """Input and maker."""
    first, _, second = key.partition(".")
    return first, second


def test_a_digest_is_the_same_in_every_process() -> None:
    """It stands in tables and outlives processes: a change here redoes the catalogue."""
    assert digest(("labels", "primary", "clip/1")) == "90d8696b235b746d6322"
    assert len(digest(None)) == 2 * DIGEST_BYTES


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("ab", "c"), ("a", "bc")),
        (None, ""),
        (None, "None"),
        (1, "1"),
        (1, 1.0),
        (0.1, 0.1 + 2**-56),
        (datetime(2026, 3, 2, tzinfo=UTC), datetime(2026, 3, 2)),  # noqa: DTZ001 - the point
        ("\ud800", "\ud801"),  # lone surrogates are text too
    ],
)
def test_different_values_have_different_digests(one: object, other: object) -> None:
    """Type and boundaries count."""
    assert digest(one) != digest(other)


@pytest.mark.parametrize(
    ("changed", "stale"),
    [
        pytest.param(("b.jpg", "a chair", None), [True] * 4, id="the image, which all read"),
        pytest.param(("a.jpg", "a stool", None), [False, False, True, True], id="the text"),
        pytest.param(("a.jpg", "a chair", "large"), [True] * 4, id="what the best rung reads"),
    ],
)
def test_the_input_half_digests_what_the_rungs_down_to_its_own_read(
    changed: tuple[Any, ...], stale: list[bool]
) -> None:
    """The last position stands for a row without a value, which every rung was tried for."""
    keys, after = keys_of(), work_of(*changed)
    pairs = [(keys.key(WORK, position), keys.key(after, position)) for position in range(4)]
    assert [not same_input(one, other) for one, other in pairs] == stale
    assert all(halves(one)[1] == halves(other)[1] for one, other in pairs)


def test_attempts_and_times_of_upstream_are_not_in_the_key() -> None:
    """Fields that no rung reads change nothing."""
    more = replace(WORK, fields={**WORK.fields, "labels.attempts": 3, "labels.run_id": "x"})
    assert keys_of().key(more, 3) == keys_of().key(WORK, 3)


def test_being_blocked_is_part_of_the_input() -> None:
    """So that a row is planned again when it is freed."""
    freed, blocked = keys_of().key(WORK, 3), keys_of().key(replace(WORK, blocked="pending"), 3)
    assert not same_input(freed, blocked)


@pytest.mark.parametrize("changed", range(3))
def test_the_maker_half_changes_with_its_own_rungs_producer(changed: int) -> None:
    """And with any of them for a row that none made."""
    rungs = list(STAGE.rungs)
    rungs[changed] = replace(rungs[changed], producer=lambda _resources: "other/2")
    before, after = keys_of(), keys_of(replace(STAGE, rungs=tuple(rungs)))
    different = [before.key(WORK, at) != after.key(WORK, at) for at in range(4)]
    assert different == [at in (changed, 3) for at in range(4)]
    assert all(same_input(before.key(WORK, at), after.key(WORK, at)) for at in range(4))


def test_the_same_rung_of_two_stages_has_two_keys() -> None:
    """Stage and rung are part of the maker."""
    assert halves(keys_of().key(WORK, 0)) != halves(keys_of(replace(STAGE, name="x")).key(WORK, 0))
    makers = {halves(keys_of().key(WORK, at))[1] for at in range(4)}
    assert len(makers) == 4


def test_the_producers_are_the_rungs_own() -> None:
    """In the order of the rungs."""
    assert keys_of().producers == ("primary/1", "fallback/1", "rules/1")


@pytest.mark.parametrize("key", [None, "", "x.y"])
def test_a_missing_or_foreign_key_is_another_input(key: str | None) -> None:
    """A row without a key is redone."""
    assert not same_input(key, keys_of().key(WORK, 0))


VALUES = st.tuples(*[st.one_of(st.none(), st.text(), st.integers(), st.floats())] * 3)


@given(VALUES, VALUES, st.integers(0, 3))
def test_keys_are_equal_exactly_where_what_is_read_is_equal(
    one: tuple[Any, ...], other: tuple[Any, ...], position: int
) -> None:
    """Nothing else of the row decides."""
    read = STAGE.reads_up_to(min(position + 1, 3))
    works = (work_of(*one), work_of(*other))
    texts = [repr([work.fields[name] for name in read]) for work in works]
    keys = [keys_of().key(work, position) for work in works]
    assert (keys[0] == keys[1]) is (texts[0] == texts[1])
    assert same_input(keys[0], keys[1]) is (keys[0] == keys[1])


def test_a_condition_that_changes_makes_only_rows_without_a_value_stale() -> None:
    """A host that is allowed now is asked for; what was fetched is not fetched again."""
    before = keys_of()
    after = keys_of(replace(STAGE, conditions=lambda _resources: "shop.example"))
    different = [before.key(WORK, at) != after.key(WORK, at) for at in range(4)]
    assert different == [False, False, False, True]
    assert same_input(before.key(WORK, 3), after.key(WORK, 3))
