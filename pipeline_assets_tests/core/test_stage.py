"""A stage is data: what it reads, what its table looks like, and what is refused."""

from typing import Any

import pytest

from pipeline_assets.core.contract import CONTRACT_NAMES
from pipeline_assets.core.stage import FALLS_THROUGH, Stage
from pipeline_assets.errors import ErrorKind
from pipeline_assets_tests.core.builders import make_rung, make_stage, make_work

STAGE = make_stage(
    make_rung("primary", reads=("validated.image.sha256", "labels.family")),
    make_rung("rules", reads=("items.name", "validated.image.sha256", "file_name")),
    carries=("validated.image.pack",),
    derives_from=("items.image_url",),
)


@pytest.mark.parametrize(
    ("rungs", "options", "message"),
    [
        pytest.param((make_rung("a"), make_rung("a")), {}, "distinct names", id="same name twice"),
        pytest.param((make_rung("skip"),), {}, "other than 'skip'", id="skip is no rung"),
        pytest.param((make_rung(factor=1.01),), {}, "factor 1.01", id="factor over 1"),
        pytest.param((make_rung(factor=-0.01),), {}, "factor -0.01", id="factor under 0"),
        pytest.param((make_rung(factor=float("nan")),), {}, "factor nan", id="factor is no number"),
        pytest.param((make_rung(),), {"skip_factor": 2}, "factor 2", id="skip factor over 1"),
        pytest.param((make_rung(),), {"required": ("colour",)}, "colour", id="unknown column"),
    ],
)
def test_a_stage_that_cannot_work_is_refused_where_it_is_built(
    rungs: tuple[Any, ...], options: dict[str, Any], message: str
) -> None:
    """The message names the stage and what is wrong."""
    with pytest.raises(ValueError, match=message) as refused:
        make_stage(*rungs, **options)
    assert "'labels'" in str(refused.value)


def test_a_stage_without_rungs_is_refused() -> None:
    """There is nothing to fall back from."""
    with pytest.raises(ValueError, match="rungs"):
        Stage(name="empty", description="", values=(), rungs=(), skip_factor=0.5)


@pytest.mark.parametrize("factor", [0.0, 1.0])
def test_the_ends_of_the_unit_are_factors(factor: float) -> None:
    """Zero trust and full trust."""
    assert make_stage(make_rung(factor=factor), skip_factor=factor).skip_factor == factor


def test_by_default_all_but_opt_outs_and_safety_falls_through() -> None:
    """Forbidden and blocked stay where they are met."""
    assert frozenset(ErrorKind) - FALLS_THROUGH == {ErrorKind.FORBIDDEN, ErrorKind.BLOCKED}


@pytest.mark.parametrize("kind", [ErrorKind.FORBIDDEN, ErrorKind.BLOCKED])
def test_no_rung_may_let_an_opt_out_or_a_safety_rule_fall_through(kind: ErrorKind) -> None:
    """Declared or not: they never do."""
    with pytest.raises(ValueError, match=str(kind)):
        make_stage(make_rung(falls_through=frozenset({ErrorKind.TIMEOUT, kind})))


def test_inputs_are_every_upstream_field_once() -> None:
    """What rungs read, what is derived from, and what is carried along; no derived field."""
    assert STAGE.inputs == (
        "validated.image.sha256",
        "labels.family",
        "items.name",
        "items.image_url",
        "validated.image.pack",
    )


def test_upstream_begins_with_items() -> None:
    """Every row begins there, also where nothing is read from it."""
    assert STAGE.upstream == ("items", "validated", "labels")
    assert make_stage(make_rung(reads=("text.words",))).upstream == ("items", "text")


@pytest.mark.parametrize(
    ("rungs", "fields"),
    [
        (0, ()),
        (1, ("validated.image.sha256", "labels.family")),
        (2, ("validated.image.sha256", "labels.family", "items.name", "file_name")),
    ],
)
def test_a_row_depends_on_what_the_rungs_up_to_its_own_read(
    rungs: int, fields: tuple[str, ...]
) -> None:
    """Each field once, in the order of the rungs."""
    assert STAGE.reads_up_to(rungs) == fields


@pytest.mark.parametrize(("rung", "index"), [("primary", 0), ("rules", 1), ("gone", 2), (None, 2)])
def test_a_rung_that_is_not_there_comes_after_the_last(rung: str | None, index: int) -> None:
    """As does none."""
    assert STAGE.index(rung) == index


@pytest.mark.parametrize(
    ("per_resource", "key"), [(False, ("item_id",)), (True, ("item_id", "role"))]
)
def test_the_key_says_what_a_row_is(key: tuple[str, ...], *, per_resource: bool) -> None:
    """An item, or one of its resources."""
    stage = make_stage(per_resource=per_resource)
    assert stage.key_names == key
    assert stage.schema.names == [*key, "label", *CONTRACT_NAMES]


def test_a_row_without_a_value_has_a_null_in_every_value_column() -> None:
    """As many as there are."""
    assert STAGE.empty_values() == (None,)


def test_a_plain_rung_asks_for_nothing() -> None:
    """Nothing missing, one breaker, no family, nothing kept; a stage applies to every row."""
    stage, work = make_stage(), make_work()
    rung = stage.rungs[0]
    assert (rung.requires(work), rung.scope, rung.family) == (None, None, None)
    assert rung.recall is None
    assert stage.applies(work)
    assert stage.derive(work.fields) == {}
