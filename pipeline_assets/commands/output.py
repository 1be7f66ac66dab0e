"""What the commands print: JSON for machines, tables for people, notes on stderr."""

import json
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import Progress, TaskID
from rich.table import Table

from pipeline_assets.core.plan import Reason

LONG_CELL = 70
LONG_RECORD = 600
"""A record has a line for each value: an error with what to do is never cut."""

_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")

PIPE_WIDTH = 120
"""Where there is no terminal to ask: wide enough for the widest table without folding names."""

_DECISIONS = {
    ("requeue", True): ("requeued", "waits for the next run of its hour"),
    ("requeue", False): ("requeued", "was tried again since, in vain"),
    ("discard", True): ("discarded", "left alone until its input changes"),
    ("discard", False): ("discarded", "no longer, since its input has changed"),
}
"""A decision and whether it stands, in words."""

_WORKS_ON: Mapping[str, str] = {Reason.PRODUCER_CHANGED: "producer or settings changed"}
"""Reasons that say less than they cover; machines have the one name of each."""

_out = Console(highlight=False, width=None if sys.stdout.isatty() else PIPE_WIDTH)
_err = Console(stderr=True, highlight=False)


class Format(StrEnum):
    """For whom to print."""

    TEXT = "text"
    JSON = "json"


def emit(data: Any, wanted: Format, render: Callable[[Any], None]) -> None:
    """Print `data` as JSON, or for people as `render` does."""
    if wanted is Format.JSON:
        print(json.dumps(data, default=_plain, ensure_ascii=False, indent=2))
    else:
        render(data)


def note(line: str) -> None:
    """A line for the person at the terminal, not for the pipe."""
    _err.print(_safe(line), soft_wrap=True)


class Bars:
    """Bars in a terminal, and nothing elsewhere: steps, and the rows of what a step is at."""

    def __init__(self) -> None:
        self._progress = Progress(console=_err, transient=True, disable=not _err.is_terminal)
        self._rows: TaskID | None = None

    def __enter__(self) -> "Bars":
        self._progress.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._progress.stop()

    def steps(self, steps: Sequence[str], what: str) -> Iterator[str]:
        """The steps, one after the other."""
        task = self._progress.add_task(what, total=len(steps))
        for step in steps:
            self._progress.update(task, description=f"{what}: {step}")
            yield step
            self._progress.advance(task)

    def rows(self, what: str, finished: int, rows: int) -> None:
        """So many of the rows of `what` are finished."""
        if self._rows is None:
            self._rows = self._progress.add_task(what, total=rows)
        self._progress.update(self._rows, description=what, completed=finished, total=rows)


def table(rows: Sequence[Mapping[str, Any]]) -> None:
    """Rows of one shape as a table."""
    if not rows:
        _out.print("nothing")
        return
    _out.print(_table(list(rows[0]), [list(row.values()) for row in rows]))


def reasons(rows: Sequence[Mapping[str, Any]]) -> None:
    """Rows of a queue: where, what kind, and the whole reason on a line of its own."""
    for row in rows:
        where = "/".join(filter(None, (row["stage"], row["role"])))
        quality = f", item at {_number(row['item_quality'])}" if "item_quality" in row else ""
        _out.print(
            f"{row['hour']} [bold]{_safe(row['item_id'])}[/] {where}: {row['error_kind']}, "
            f"{row['attempts']} attempts{quality}",
            soft_wrap=True,
        )
        _out.print(f"    {_safe(row['error'] or '')}", soft_wrap=True)
        if row.get("first_seen") is not None:  # slices of older programs do not say
            _out.print(
                f"    first seen {_cell(row['first_seen'])}, last seen {_cell(row['last_seen'])}, "
                f"{_cell(row['cost_usd'])} USD",
                soft_wrap=True,
            )
        if row.get("decision") is not None:
            _out.print(f"    {_safe(_decision(row))}", soft_wrap=True)
    if not rows:
        _out.print("nothing")


def breaker_events(rows: Sequence[Mapping[str, Any]]) -> None:
    """What became of breakers: when, which, from and to, and the whole reason."""
    for row in rows:
        _out.print(
            f"{_cell(row['at'])} [bold]{_safe(row['breaker'])}[/] {row['from']} → {row['to']}: "
            f"{_safe(row['reason'])}",
            soft_wrap=True,
        )
    if not rows:
        _out.print("nothing")


def alerts(rows: Sequence[Mapping[str, Any]]) -> None:
    """What stands: since when, what it is, and what to do."""
    for row in rows:
        _out.print(
            f"{_cell(row['since'])} {row['severity']} [bold]{_safe(row['title'])}[/]",
            soft_wrap=True,
        )
        _out.print(f"    {_safe(row['what_happened'])}", soft_wrap=True)
        _out.print(f"    what to do: {_safe(row['what_to_do'])}", soft_wrap=True)
    if not rows:
        _out.print("nothing stands")


def decided(data: Mapping[str, Any]) -> None:
    """What came of a decision about dead letters, and what comes next."""
    for line in data["said"]:
        _out.print(_safe(line), soft_wrap=True)


def _decision(row: Mapping[str, Any]) -> str:
    """What a person decided about a dead letter, and what became of that."""
    done, became = _DECISIONS[row["decision"], row["stands"]]
    why = f" ({row['why']})" if row["why"] else ""
    return f"{done} {_cell(row['decided_at'])}{why}: {became}"


def budgets(rows: Sequence[Mapping[str, Any]]) -> None:
    """The budgets of all stages, and each pause in full."""
    columns = ["stage", "USD today", "daily cap", "retries left", "paused"]
    cells = [
        [
            "all stages" if row["stage"] == "*" else row["stage"],
            row["spent_usd"],
            "none" if row["cap_usd"] is None else row["cap_usd"],
            row["retries_left"],
            "yes" if row["paused"] else None,
        ]
        for row in rows
    ]
    _out.print(_table(columns, cells))
    for row in rows:
        if not row["known"]:
            _out.print(
                f"no stage is called {_safe(row['stage'])}: a cap for it caps nothing",
                soft_wrap=True,
            )
        if row["paused"]:
            _out.print(_safe(row["paused"]), soft_wrap=True)


def record(values: Mapping[str, Any]) -> None:
    """One record, a line a field."""
    for name, value in values.items():
        whole = _cell(value, longest=LONG_RECORD)
        _out.print(f"{_safe(name)}: {_safe(whole)}", soft_wrap=True)


def findings(rows: Sequence[Mapping[str, Any]]) -> None:
    """The doctor's findings."""
    for row in rows:
        mark = "[green]well[/]    " if row["ok"] else "[red]wrong[/]   "
        _out.print(f"{mark} {row['what']}: {_safe(row['found'])}", soft_wrap=True)
        if not row["ok"]:
            _out.print(f"         to mend: {_safe(row['mend'] or '')}", soft_wrap=True)


def hits(rows: Sequence[Mapping[str, Any]]) -> None:
    """Search results, best first."""
    if not rows:
        _out.print("no item matches")
        return
    columns = ["", "item", "name", "label", "quality", "score", "found by"]
    cells = [
        [
            place,
            row["item_id"],
            row["name"],
            row["label"],
            _number(row["quality"]),
            f"{row['score']:.4f}",
            # Of the vectors, whether by picture or by text: a space has a list of each.
            ", ".join(f"{name.rpartition(':')[2]} #{rank}" for name, rank in row["ranks"].items()),
        ]
        for place, row in enumerate(rows, start=1)
    ]
    _out.print(_table(columns, cells))


def explained(rows: Sequence[Mapping[str, Any]]) -> None:
    """Search results, best first, each with why it is there."""
    for place, row in enumerate(rows, start=1):
        _out.print(
            f"{place}. [bold]{_safe(row['item_id'])}[/] {_safe(row['name'] or '')}: "
            f"{row['score']:.5f}, quality {_number(row['quality']) or 'not known yet'}",
            soft_wrap=True,
        )
        for line in _why(row):
            _out.print(f"    {_safe(line)}", soft_wrap=True)
    if not rows:
        _out.print("no item matches")


def _why(row: Mapping[str, Any]) -> Iterator[str]:
    """What each list gave, and what the quality that weighed it is made of."""
    for name, one in row["gains"].items():
        yield (
            f"{name}: rank {one['rank']}, match {one['match']:.3f}, {one['confidence']:.0%} of the "
            f"best, weighed {row['weight']:g} by quality: {one['gain']:.5f}"
        )
    if row["lifted_over"] is not None:
        yield f"before its twin {row['lifted_over']}, of no better quality, whose score it has"
    for factor in row["factors"]:
        if factor["factor"] != 1.0:
            reason = f", {factor['reason']}" if factor["reason"] else ""
            yield (
                f"quality: {_cell(factor['factor']) or 'not known yet'} for {factor['stage']} "
                f"({factor['rung_or_status']}{reason})"
            )


def answers(rows: Sequence[Mapping[str, Any]]) -> None:
    """The results of each of several queries."""
    for row in rows:
        _out.print(f"\n[bold]{_safe(row['query_id'])}[/]")
        hits(row["hits"])


def index(data: Mapping[str, Any]) -> None:
    """What is in the search index."""
    _out.print(f"{data['items']} current items of {data['hours']} hours")
    if data["hours_missing"]:
        _out.print(
            f"[yellow]missing[/] {len(data['hours_missing'])} hours, from "
            f"{data['hours_missing'][0]} on: `pipeline-assets index rebuild`"
        )
    if data["vector_indexes"]:
        table(data["vector_indexes"])


def item(found: Mapping[str, Any]) -> None:
    """One item: its score, what it is made of, and each stage's rows."""
    _out.print(
        f"[bold]{_safe(found['item_id'])}[/] in hour {found['hour']}, "
        f"quality {_number(found['quality'])}"
    )
    factors = found["quality_factors"] or []
    if factors:
        _out.print(_table(list(factors[0]), [list(factor.values()) for factor in factors]))
    for name, rows in found["stages"].items():
        for row in rows:
            _out.print(f"\n[bold]{name}[/] {_safe(row.get('role') or '')}")
            record({key: value for key, value in row.items() if value is not None})


def drill(data: Mapping[str, Any]) -> None:
    """What came of forcing fallbacks, and what is wrong with which."""
    table(data["fallbacks"])
    for line in data["wrong"]:
        _out.print(f"[yellow]warning[/] {_safe(line)}", soft_wrap=True)


def plan(data: Mapping[str, Any]) -> None:
    """What a run would do."""
    lost = f" ({data['feed_lost']} rows of all have no hour)" if data["feed_lost"] else ""
    _out.print(
        f"hour {data['hour']}: {_cell(data['feed_rows'])} rows in the feed{lost}, "
        f"{data['items']} items materialized"
    )
    if data["feed_rows"] == 0:
        _out.print("the feed has no row of that hour")
    if not data["items"] and not data["feed_rows"]:
        return
    if not data["items"]:
        _out.print("the hour has no items yet: every row of the feed is new")
    columns = ["stage", "works on", "leaves", "calls", "USD", "about"]
    cells = [
        [
            stage["stage"],
            _works_on(stage["planned"]),
            _counts(stage["standing"]),
            stage["calls"],
            f"{stage['cost_usd']:.2f}",
            _about(stage["seconds"]),
        ]
        for stage in data["stages"]
    ]
    _out.print(_table(columns, cells))
    if any(stage["planned"] for stage in data["stages"]):
        _out.print(
            "what follows from these is not counted here; "
            f"`pipeline-assets plan --from {data['hour']} --to {data['hour']}` counts it",
            soft_wrap=True,
        )


def plan_range(data: Mapping[str, Any]) -> None:
    """What a backfill would do at most: the hours that have work, and all of them together."""
    hours, total = data["hours"], data["total"]
    busy = [each for each in hours if each["rows"]]
    _out.print(
        f"{data['from']} to {data['to']}: {len(busy)} of {len(hours)} hours have something to do"
    )
    columns = ["hour", "in the feed", "items", "new", "at most: rows", "calls", "USD", "about"]
    if busy:
        cells = [[*_hour_cells(each), *_at_most(each)] for each in busy]
        _out.print(_table(columns, [*cells, ["in all", None, None, None, *_at_most(total)]]))
        _out.print(_table(["stage", "works on"], _by_stage(total)))
        _out.print(_table(["rung", "calls at most"], total["calls_at_most"].items()))
    for line in _uncounted(data):
        _out.print(_safe(line), soft_wrap=True)


def _hour_cells(each: Mapping[str, Any]) -> list[Any]:
    return [each["hour"], each["feed_rows"], each["items"], each["new_items"]]


def _at_most(counted: Mapping[str, Any]) -> list[Any]:
    rows = sum(sum(reasons.values()) for reasons in counted["rows"].values())
    calls = sum(counted["calls_at_most"].values())
    return [rows, calls, f"{counted['cost_usd_at_most']:.2f}", _about(counted["seconds"])]


def _about(seconds: float | None) -> str:
    """An estimate, in the largest unit of which there are two."""
    if seconds is None:
        return "?"
    if seconds < 120:
        return f"{seconds:.1f} s"
    minutes = seconds / 60
    return f"{minutes:.0f} min" if minutes < 120 else f"{minutes / 60:.0f} h"


def _by_stage(counted: Mapping[str, Any]) -> list[list[Any]]:
    return [[stage, _works_on(reasons)] for stage, reasons in counted["rows"].items()]


def _works_on(reasons: Mapping[str, int]) -> str:
    return _counts({_WORKS_ON.get(reason, reason): rows for reason, rows in reasons.items()})


def _uncounted(data: Mapping[str, Any]) -> Iterator[str]:
    """What the numbers do not know."""
    never = sum(not each["materialized"] for each in data["hours"])
    which = f"{never} of {len(data['hours'])} hours were never materialized"
    if data["feed_problem"]:
        yield f"{which}; what is new in the feed is not counted: {data['feed_problem']}"
    elif never:
        yield f"{which}: their rows are counted from the feed"


def runs(data: Mapping[str, Any]) -> None:
    """What runs of hours came to."""
    for each in data["hours"]:
        _out.print(f"[bold]{each['hour']}[/], run {each['run_id']}")
        columns = ["asset", "rows", "worked on", "ok", "fallback", "failed", "quality", "seconds"]
        cells = [
            [
                name,
                shown.get("dagster/row_count"),
                shown.get("rows_planned", shown.get("new_or_changed")),
                shown.get("status_ok"),
                shown.get("fallbacks"),
                shown.get("status_failed"),
                _number(shown.get("quality_mean")),
                _number(shown.get("seconds"), digits=1),
            ]
            for name, shown in each["metadata"].items()
        ]
        _out.print(_table(columns, cells))
        for warning in each["warnings"]:
            _out.print(f"[yellow]warning[/] {_safe(warning)}", soft_wrap=True)
    if data["feed_rejects"]:
        _out.print(
            f"{data['feed_rejects']} rows of the feed are in no hour; the table feed_rejects "
            "says why"
        )


def story(told: Mapping[str, Any]) -> None:
    """The demo's story."""
    acts = told["acts"]
    _out.print()
    columns = ["", *(f"{act['hour']}\n{act['title']}" for act in acts)]
    names = [name for act in acts for name in act["quality"]]
    qualities = sorted(set(names), reverse=True)
    cells: list[list[Any]] = [["items", *(act["items"] for act in acts)]]
    cells += [
        [f"at quality {name}", *(act["quality"].get(name, 0) for act in acts)] for name in qualities
    ]
    cells.append(["seconds", *(act["seconds"] for act in acts)])
    _out.print(_table(columns, cells, title="Every item of every hour, processed"))
    _statuses(acts)
    rungs = dict.fromkeys(name for act in acts for name in act["rungs"])
    rows = [[name, *(_rung(act["rungs"].get(name)) for act in acts)] for name in rungs]
    _out.print(_table(columns, rows, title="Rows made (+ recalled) / calls, by rung"))
    _out.print(f'\n[bold]pipeline-assets search "{told["query"]}"[/]')
    hits(told["hits"])
    _out.print(_where_next(told))


def _statuses(acts: Sequence[Mapping[str, Any]]) -> None:
    columns = ["rows by status", *(f"{act['hour']}\n{act['title']}" for act in acts)]
    rows = [
        [stage, *(_counts(act["statuses"][stage]) for act in acts)] for stage in acts[0]["statuses"]
    ]
    _out.print(_table(columns, rows, title="What every row says happened to it"))


def _rung(stats: Mapping[str, int] | None) -> str:
    if stats is None:
        return "-"
    recalled = f" (+{stats['recalled']})" if stats["recalled"] else ""
    return f"{stats['made']}{recalled} / {stats['calls']}"


def _where_next(told: Mapping[str, Any]) -> str:
    item_id = told["hits"][0]["item_id"] if told["hits"] else "ITEM"
    return (
        f"\nTold in {told['seconds']:.0f} s; the tables are under {_safe(told['data'])}/tables. "
        "Where to go next:\n"
        f"  pipeline-assets show {_safe(item_id)}    what happened to one item\n"
        "  pipeline-assets quality --by rung     how good the rows are, and which rung made them\n"
        "  pipeline-assets dead-letters list     rows that trying again cannot help, and why\n"
        "  make ui                               the same in Dagster's UI"
    )


def _table(
    columns: Sequence[str], rows: Iterable[Sequence[Any]], title: str | None = None
) -> Table:
    made = Table(title=title, title_justify="left", show_edge=False)
    for place, column in enumerate(columns):
        made.add_column(escape(column), overflow="fold", no_wrap=place == 0)
    for row in rows:
        made.add_row(*(_safe(_cell(value)) for value in row))
    return made


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.items()) or "-"


def _number(value: float | None, digits: int = 3) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def _safe(text: str) -> str:
    """Strangers' text with neither markup nor anything that a terminal would obey."""
    return escape(_CONTROL.sub(lambda found: repr(found[0])[1:-1], text))


def _cell(value: Any, longest: int = LONG_CELL) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S}"
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {one}" for name, one in value.items())
    text = str(value)
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def _plain(value: Any) -> Any:
    """What JSON has no type for."""
    if isinstance(value, datetime):
        return value.isoformat()
    return str(value)
