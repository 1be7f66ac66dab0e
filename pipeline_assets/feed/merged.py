"""Rows of one item right after one another as one row: a shop's export of variants. Pure."""

from collections.abc import Iterable, Iterator, Mapping

from pipeline_assets.feed.rows import RawRow


def merged(rows: Iterable[RawRow]) -> Iterator[RawRow]:
    """One row for each run of rows with the same item_id: of each field the first value counts.

    Its line is the run's first, its problem the first that any of them has.
    """
    run: RawRow | None = None
    for row in rows:
        if run is not None and _same_item(run, row):
            run = _together(run, row)
            continue
        if run is not None:
            yield run
        run = row
    if run is not None:
        yield run


def _same_item(one: RawRow, other: RawRow) -> bool:
    item = _item(one.values)
    return item is not None and item == _item(other.values)


def _item(values: Mapping[str, object]) -> object:
    item = values.get("item_id")
    return (item.strip() or None) if isinstance(item, str) else item


def _together(run: RawRow, row: RawRow) -> RawRow:
    added = {
        field: value
        for field, value in row.values.items()
        if _is_empty(run.values.get(field)) and not _is_empty(value)
    }
    problem = run.problem or row.problem
    if not added and problem == run.problem:
        return run
    return RawRow(run.line, {**run.values, **added}, problem)


def _is_empty(value: object) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())
