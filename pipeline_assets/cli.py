"""The command line: every command prints for people, or with `--format json` for machines."""

import os
import sys
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from pipeline_assets.accelerator.accelerator import Fault
from pipeline_assets.assets.progress import watched_by
from pipeline_assets.commands import accelerator as accelerator_commands
from pipeline_assets.commands import alerts as alerts_command
from pipeline_assets.commands import breakers as breaker_commands
from pipeline_assets.commands import budget as budget_commands
from pipeline_assets.commands import dead_letters as dead_letter_commands
from pipeline_assets.commands import doctor as doctor_command
from pipeline_assets.commands import drill as drill_command
from pipeline_assets.commands import forget as forget_command
from pipeline_assets.commands import index as index_command
from pipeline_assets.commands import output, queues
from pipeline_assets.commands import plan as plan_command
from pipeline_assets.commands import quality as quality_command
from pipeline_assets.commands import retention as retention_command
from pipeline_assets.commands import search as search_command
from pipeline_assets.commands import show as show_command
from pipeline_assets.commands.output import Format
from pipeline_assets.commands.plan_range import plan_range
from pipeline_assets.commands.running import Interrupted
from pipeline_assets.core.breaker import LONGEST_OPEN_FOR_S
from pipeline_assets.core.hours import HOUR, full_hour, hour_name, parse_hour
from pipeline_assets.core.names import ENRICHED
from pipeline_assets.core.plan import Verdict
from pipeline_assets.core.status import Status
from pipeline_assets.errors import PipelineError, SettingsError
from pipeline_assets.logs import LogFormat, configure_logging
from pipeline_assets.models.clip import ModelNotLoaded
from pipeline_assets.resources import Resources, opened
from pipeline_assets.search import Filters
from pipeline_assets.settings import load_settings

FAILED = 1
INTERRUPTED = 130

app = typer.Typer(
    help="A data platform for AI enrichment that always moves forward.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
dead_letters_app = typer.Typer(help="Rows that trying again cannot help.", no_args_is_help=True)
breakers_app = typer.Typer(help="The circuit breakers.", no_args_is_help=True)
budget_app = typer.Typer(
    help="What may be spent and retried, and the pause switch.", no_args_is_help=True
)
accelerator_app = typer.Typer(
    help="The accelerator: look at it, or break it on purpose.", no_args_is_help=True
)
index_app = typer.Typer(help="The search index.", no_args_is_help=True)
app.add_typer(dead_letters_app, name="dead-letters")
app.add_typer(breakers_app, name="breakers")
app.add_typer(budget_app, name="budget")
app.add_typer(accelerator_app, name="accelerator")
app.add_typer(index_app, name="index")

FormatOption = Annotated[Format, typer.Option("--format", help="For people or for machines.")]
PausedStage = Annotated[str | None, typer.Argument(help="Without one: all stages.")]
LimitOption = Annotated[int, typer.Option(min=1, help="At most so many rows.")]
BreakerName = Annotated[
    str, typer.Argument(help="A stage and rung, image_labels.cpu_clip, or one with @ and a host.")
]
HOUR_HELP = "An hour, UTC: 2026-03-02-06 or 2026-03-02T06."
LetterReason = Annotated[str | None, typer.Option("--reason", help="Only with this error kind.")]
LetterStage = Annotated[str | None, typer.Option("--stage", help="Only of this stage.")]
LetterHour = Annotated[str | None, typer.Option("--hour", help=f"Only of one hour. {HOUR_HELP}")]
LetterItem = Annotated[
    list[str] | None, typer.Option("--item", help="Only of this item; may be repeated.")
]
AllLetters = Annotated[bool, typer.Option("--all", help="Every dead letter there is.")]
Why = Annotated[str, typer.Option(help="The reason, for whoever wonders.")]


class SearchMode(StrEnum):
    """How to search."""

    KEYWORD = "keyword"
    VECTOR = "vector"
    HYBRID = "hybrid"


@app.command()
def demo(
    items: Annotated[int, typer.Option(min=1, help="Items an hour.")] = 2000,
    format: FormatOption = Format.TEXT,  # noqa: A002 - the option's name
) -> None:
    """Play the 3 am story on the sample shop: an outage, everything processed, healed."""
    from pipeline_assets.commands.demo import as_data, play  # noqa: PLC0415 - loads aiohttp, pillow

    def say(line: str) -> None:
        output.note(line)

    story = play(items, say)
    output.emit(as_data(story), format, output.story)


@app.command()
def doctor(format: FormatOption = Format.TEXT) -> None:  # noqa: A002
    """Look at settings, storage, databases, models, accelerator and clock."""
    with opened() as resources:
        findings = [asdict(finding) for finding in doctor_command.doctor(resources)]
    output.emit(findings, format, output.findings)
    if not all(finding["ok"] for finding in findings):
        raise typer.Exit(FAILED)


@app.command()
def run(
    hour: Annotated[str | None, typer.Option(help=HOUR_HELP)] = None,
    first: Annotated[str | None, typer.Option("--from", help="The first of several hours.")] = None,
    last: Annotated[str | None, typer.Option("--to", help="The last of several hours.")] = None,
    item: Annotated[list[str] | None, typer.Option(help="Only this item; may be repeated.")] = None,
    force: Annotated[bool, typer.Option(help="Redo rows that are current, too.")] = False,
    newest_first: Annotated[
        bool, typer.Option("--newest-first", help="Begin with the last of several hours.")
    ] = False,
    format: FormatOption = Format.TEXT,  # noqa: A002
) -> None:
    """Bring hours up to date, through Dagster in this process."""
    from pipeline_assets.commands.running import (  # noqa: PLC0415
        RunFailed,
        instance,
        run_hour,
        run_rejects,
    )

    hours = _hours(hour, first, last)
    if newest_first:
        hours.reverse()
    with instance() as dagster, output.Bars() as bars, watched_by(bars.rows):
        rejected = run_rejects(dagster)
        runs, failures = [], []
        for each in bars.steps(hours, "hours"):
            try:
                runs.append(run_hour(each, dagster, items=item or (), force=force))
            except RunFailed as failed:  # one hour's trouble is not the next one's
                failures.append(str(failed))
    data = {
        "feed_rejects": rejected,
        "hours": [asdict(each) for each in runs],
        "failed": failures,
    }
    output.emit(data, format, output.runs)
    if failures:
        _fail("; ".join(failures))


@app.command()
def plan(
    hour: Annotated[str | None, typer.Option(help=HOUR_HELP)] = None,
    first: Annotated[str | None, typer.Option("--from", help="The first of several hours.")] = None,
    last: Annotated[str | None, typer.Option("--to", help="The last of several hours.")] = None,
    item: Annotated[list[str] | None, typer.Option(help="Only this item; may be repeated.")] = None,
    force: Annotated[bool, typer.Option(help="As if rows that are current were redone.")] = False,
    format: FormatOption = Format.TEXT,  # noqa: A002
) -> None:
    """Say what a run of an hour, or a backfill, would do and why, at what cost; change nothing."""
    items = frozenset(item or ())
    if hour is not None and first is None and last is None:
        with opened() as resources:
            data = plan_command.plan(resources, hour_name(_hour(hour)), items=items, force=force)
        output.emit(data, format, output.plan)
        return
    hours = _hours(hour, first, last)
    with opened() as resources, output.Bars() as bars:
        data = plan_range(
            resources,
            hours,
            items=items,
            force=force,
            steps=lambda hours: bars.steps(hours, "hours"),
        )
    output.emit(data, format, output.plan_range)


@app.command()
def quality(
    by: Annotated[quality_command.By, typer.Option(help="What to group by.")] = (
        quality_command.By.HOUR
    ),
    format: FormatOption = Format.TEXT,  # noqa: A002
) -> None:
    """Say how good the items are."""
    _table(lambda resources: quality_command.quality(resources, by), format)


@app.command()
def show(
    item: Annotated[str, typer.Argument(help="The item's id.")],
    format: FormatOption = Format.TEXT,  # noqa: A002
) -> None:
    """Show everything that is known of one item."""
    with opened() as resources:
        found = show_command.show(resources, item)
    if found is None:
        _fail(f"no hour has an item {item!r}; `pipeline-assets search` finds items by words")
    output.emit(found, format, output.item)


@app.command()
def search(  # noqa: PLR0913, PLR0917 - an option each
    text: Annotated[str | None, typer.Argument(help="What to look for.")] = None,
    image: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="Items like this picture.")
    ] = None,
    like: Annotated[str | None, typer.Option(help="Items like this item.")] = None,
    queries: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="Every query of this JSONL file."),
    ] = None,
    mode: Annotated[SearchMode, typer.Option(help="By words, by meaning, or both.")] = (
        SearchMode.HYBRID
    ),
    top: Annotated[int, typer.Option(min=1, max=1000, help="At most so many items.")] = 10,
    kind: Annotated[str | None, typer.Option(help="Only this kind: product, document.")] = None,
    label: Annotated[str | None, typer.Option(help="Only with this label.")] = None,
    first: Annotated[str | None, typer.Option("--from", help="Only of this hour or later.")] = None,
    last: Annotated[str | None, typer.Option("--to", help="Only of this hour or earlier.")] = None,
    min_quality: Annotated[
        float | None, typer.Option(min=0, max=1, help="Only of at least this quality.")
    ] = None,
    status: Annotated[
        list[str] | None,
        typer.Option(help="Only where a stage has a status: image_labels=skipped; repeatable."),
    ] = None,
    explain: Annotated[bool, typer.Option(help="Say why each item is where it is.")] = False,
    format: FormatOption = Format.TEXT,  # noqa: A002
) -> None:
    """Find items, the more trustworthy first: by words, by a picture, or like another item."""
    if sum(given is not None for given in (text, image, like, queries)) != 1:
        raise typer.BadParameter("give one of: words, --image, --like, --queries")
    if explain and queries is not None:
        raise typer.BadParameter("--explain is for one search: --format json says all of each hit")
    filters = Filters(
        kind=kind,
        label=label,
        first_hour=None if first is None else hour_name(_hour(first)),
        last_hour=None if last is None else hour_name(_hour(last)),
        min_quality=min_quality,
        stages=dict(_stage_status(each) for each in status or ()),
    )
    render = output.explained if explain else output.hits
    with opened() as resources:
        if image is not None:
            hits = search_command.search_picture(resources, image, top=top, filters=filters)
        elif like is not None:
            hits = search_command.search_like(resources, like, top=top, filters=filters)
        elif queries is not None:
            hits = search_command.search_all(
                resources, queries, mode=mode.value, top=top, filters=filters
            )
            render = output.answers
        else:
            hits = search_command.search(
                resources, text or "", mode=mode.value, top=top, filters=filters
            )
    output.emit(hits, format, render)


def _stage_status(text: str) -> tuple[str, Status]:
    stage, _, status = text.partition("=")
    try:
        return stage, Status(status)
    except ValueError:
        raise typer.BadParameter(
            f"--status {text}: give a stage and one of {', '.join(Status)}, "
            "as in image_labels=skipped"
        ) from None


@index_app.command("show")
def index_show(format: FormatOption = Format.TEXT) -> None:  # noqa: A002
    """Say what is in the search index, and how well its vectors are found."""
    with opened() as resources:
        data = index_command.show(resources)
    output.emit(data, format, output.index)


@index_app.command("rebuild")
def index_rebuild(format: FormatOption = Format.TEXT) -> None:  # noqa: A002
    """Make the search index anew from the tables; the old one answers until then."""
    with opened() as resources, output.Bars() as bars:
        hours = bars.steps(resources.tables.hours(ENRICHED), "hours")
        data = index_command.rebuild(resources, hours)
    output.emit(data, format, output.record)


@app.command()
def serve(
    host: Annotated[str, typer.Option(help="The address to listen on; there is no login.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option(min=1, max=65535, help="The port.")] = 8080,
) -> None:
    """Serve search, items and quality over HTTP: pages for people, JSON for programs."""
    from pipeline_assets.serve.command import serve as served  # noqa: PLC0415 - loads Starlette

    with opened() as resources:
        served(resources, host, port, output.note)


@app.command()
def drill(
    items: Annotated[int | None, typer.Option(min=1, help="So many rows of each stage.")] = None,
    hour: Annotated[str | None, typer.Option(help=f"Rows of just this hour. {HOUR_HELP}")] = None,
    suggest: Annotated[
        bool, typer.Option(help="Print the factors that the measurements support.")
    ] = False,
    format: FormatOption = Format.TEXT,  # noqa: A002
) -> None:
    """Force each fallback on rows that the primary made, and measure how well it does."""
    from pipeline_assets.commands.running import instance, run_drill  # noqa: PLC0415

    named = None if hour is None else hour_name(_hour(hour))
    with instance() as dagster, output.Bars() as bars, watched_by(bars.rows):
        wrong = run_drill(dagster, items=items, hour=named)
    with opened() as resources:
        data = (drill_command.factors if suggest else drill_command.results)(resources)
    output.emit({"fallbacks": data, "wrong": wrong}, format, output.drill)
    if wrong:
        raise typer.Exit(FAILED)


@app.command()
def forget(
    names: Annotated[list[str], typer.Argument(help="Items by their ids, or URLs.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    format: FormatOption = Format.TEXT,  # noqa: A002
) -> None:
    """Remove items or URLs from everything, prove that nothing is left, and keep them out."""
    with opened() as resources:
        if not yes:
            looked = forget_command.look(resources, names)
            typer.confirm(f"There is no way back. Rows: {looked}. Forget?", abort=True, err=True)
        data = forget_command.run(resources, names)
    output.emit(data, format, output.decided)
    if data["left"]:
        raise typer.Exit(FAILED)


@app.command()
def retention(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would go.")] = False,
    format: FormatOption = Format.TEXT,  # noqa: A002
) -> None:
    """Let go what is old enough: superseded rows, work, copies, unused bytes (PIPELINE_KEEP_…)."""
    with opened() as resources:
        data = retention_command.run(resources, dry_run=dry_run)
    output.emit(data, format, output.decided)


@app.command("retry-queue")
def retry_queue(
    limit: LimitOption = 100,
    format: FormatOption = Format.TEXT,  # noqa: A002
) -> None:
    """List the improvable rows of items under the threshold, worst first."""
    _table(lambda resources: queues.retry_queue(resources, limit), format, output.reasons)


@app.command()
def alerts(format: FormatOption = Format.TEXT) -> None:  # noqa: A002
    """List what is wrong at present, since when, and what to do about it."""
    _table(alerts_command.alerts, format, output.alerts)


@dead_letters_app.command("list")
def dead_letters_list(
    reason: LetterReason = None,
    stage: LetterStage = None,
    hour: LetterHour = None,
    item: LetterItem = None,
    limit: LimitOption = 100,
    format: FormatOption = Format.TEXT,  # noqa: A002
) -> None:
    """List the dead letters with their reasons, newest hour first; discarded ones last."""
    wanted = _wanted(reason, stage, hour, item)
    _table(
        lambda resources: dead_letter_commands.dead_letters(resources, wanted, limit),
        format,
        output.reasons,
    )


def _decision(verdict: Verdict) -> Callable[..., None]:
    """The command of a decision about dead letters."""

    def decide(
        reason: LetterReason = None,
        stage: LetterStage = None,
        hour: LetterHour = None,
        item: LetterItem = None,
        everything: AllLetters = False,
        why: Why = "",
        format: FormatOption = Format.TEXT,  # noqa: A002
    ) -> None:
        wanted = _meant(_wanted(reason, stage, hour, item), everything=everything)
        with opened() as resources:
            data = dead_letter_commands.decide(resources, verdict, wanted, why)
        output.emit(data, format, output.decided)

    return decide


dead_letters_app.command(
    "requeue", help="Have the next run of their hours work on dead letters again, on every rung."
)(_decision(Verdict.REQUEUE))
dead_letters_app.command("discard", help="Leave dead letters alone until their input changes.")(
    _decision(Verdict.DISCARD)
)


@breakers_app.command("list")
def breakers_list(format: FormatOption = Format.TEXT) -> None:  # noqa: A002
    """List every breaker that has ever recorded something."""
    _table(breaker_commands.breakers, format)


@breakers_app.command("events")
def breakers_events(
    name: Annotated[str | None, typer.Argument(help="Only of this breaker and its hosts.")] = None,
    limit: LimitOption = 100,
    format: FormatOption = Format.TEXT,  # noqa: A002
) -> None:
    """List what became of breakers, when and why, newest first."""
    _table(
        lambda resources: breaker_commands.events(resources, name, limit),
        format,
        output.breaker_events,
    )


@breakers_app.command("reset")
def breakers_reset(
    name: Annotated[str, typer.Argument(help="A name from `breakers list`.")],
    format: FormatOption = Format.TEXT,  # noqa: A002
) -> None:
    """Close a breaker and forget what it recorded."""
    _record(lambda resources: breaker_commands.reset_breaker(resources, name), format)


@breakers_app.command("open")
def breakers_open(
    name: BreakerName,
    seconds: Annotated[
        float | None,
        typer.Option(
            "--for", min=1, max=LONGEST_OPEN_FOR_S, help="So many seconds; else until `reset`."
        ),
    ] = None,
    format: FormatOption = Format.TEXT,  # noqa: A002
) -> None:
    """Open a breaker: its rung is not called for some time, or until `breakers reset`."""
    _record(lambda resources: breaker_commands.open_breaker(resources, name, seconds), format)


@breakers_app.command("disable")
def breakers_disable(name: BreakerName, format: FormatOption = Format.TEXT) -> None:  # noqa: A002
    """Let every call of a rung through, whatever fails, until `breakers reset`."""
    _record(lambda resources: breaker_commands.disable_breaker(resources, name), format)


@budget_app.command("list")
def budget_list(format: FormatOption = Format.TEXT) -> None:  # noqa: A002
    """List what was spent today, the caps, the retry tokens left and the pauses."""
    _table(budget_commands.budgets, format, output.budgets)


@budget_app.command("pause")
def budget_pause(
    stage: PausedStage = None,
    why: Annotated[str, typer.Option(help="The reason, for whoever wonders.")] = "",
    format: FormatOption = Format.TEXT,  # noqa: A002
) -> None:
    """Make no paid calls, and no retries within a run, until `budget resume`; free rungs go on."""
    _table(lambda resources: budget_commands.pause(resources, stage, why), format, output.budgets)


@budget_app.command("resume")
def budget_resume(
    stage: PausedStage = None,
    format: FormatOption = Format.TEXT,  # noqa: A002
) -> None:
    """Take a pause back: the one of a stage, or the one of all stages."""
    _table(lambda resources: budget_commands.resume(resources, stage), format, output.budgets)


@accelerator_app.command("status")
def accelerator_status(format: FormatOption = Format.TEXT) -> None:  # noqa: A002
    """Look at the accelerator, and at what the probes have come to."""
    _record(accelerator_commands.status, format)


@accelerator_app.command("fail")
def accelerator_fail(
    fault: Annotated[Fault, typer.Argument(help="What goes wrong.")],
    after_rows: Annotated[int, typer.Option(min=0, help="Rows still served before it.")] = 0,
    fits: Annotated[int, typer.Option(min=0, help="oom: the largest batch that fits.")] = 0,
    format: FormatOption = Format.TEXT,  # noqa: A002
) -> None:
    """Break the accelerator on purpose, for drills and demos."""
    _record(lambda resources: accelerator_commands.fail(resources, fault, after_rows, fits), format)


@accelerator_app.command("heal")
def accelerator_heal(format: FormatOption = Format.TEXT) -> None:  # noqa: A002
    """Lift the injected fault; breakers of accelerated rungs probe at once."""
    _record(accelerator_commands.heal, format)


def main() -> None:
    """The console script. An error of ours is one line on stderr, never a traceback."""
    configure_logging(_log_format())
    try:
        app()
    except Interrupted as error:
        output.note(f"pipeline-assets: {error}")
        raise SystemExit(INTERRUPTED) from None
    except (PipelineError, ModelNotLoaded, FileNotFoundError) as error:
        _fail(str(error))
    except BrokenPipeError:
        # The reader (`| head`) has seen enough; Python must not complain at exit either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        _fail(f"the system refused: {error}. `pipeline-assets doctor` says what to mend")
    except Exception as error:
        if not type(error).__module__.startswith("sqlalchemy."):
            raise
        reason = str(getattr(error, "orig", None) or error).splitlines()[0]
        _fail(
            f"a database cannot be used: {reason}. Is the disk full or read-only? "
            "`pipeline-assets doctor` says what to mend; what was finished stays"
        )


def _table(
    read: Callable[[Resources], list[dict[str, Any]]],
    wanted: Format,
    render: Callable[[Any], None] = output.table,
) -> None:
    with opened() as resources:
        rows = read(resources)
    output.emit(rows, wanted, render)


def _record(act: Callable[[Resources], dict[str, Any]], wanted: Format) -> None:
    with opened() as resources:
        record = act(resources)
    output.emit(record, wanted, output.record)


def _wanted(
    reason: str | None, stage: str | None, hour: str | None, items: list[str] | None
) -> dead_letter_commands.LetterFilter:
    named = None if hour is None else hour_name(_hour(hour))
    return dead_letter_commands.LetterFilter(reason, stage, named, tuple(items or ()))


def _meant(
    wanted: dead_letter_commands.LetterFilter, *, everything: bool
) -> dead_letter_commands.LetterFilter:
    """Nobody decides about everything by leaving something out."""
    if everything == (wanted != dead_letter_commands.EVERYTHING):
        raise typer.BadParameter(
            "say which dead letters: --reason, --stage, --hour or --item, or --all for every one"
        )
    return wanted


def _hours(hour: str | None, first: str | None, last: str | None) -> list[str]:
    if (first is None) != (last is None) or (hour is None) == (first is None):
        raise typer.BadParameter("give either --hour, or --from and --to")
    begin, end = (_hour(hour), _hour(hour)) if hour else (_hour(first or ""), _hour(last or ""))
    if end < begin:
        raise typer.BadParameter(f"--to {last} is before --from {first}")
    closed = full_hour(datetime.now(UTC)) - HOUR
    if end > closed:
        raise SettingsError(
            "hour", hour_name(end), f"the last hour that has closed is {hour_name(closed)} (UTC)"
        )
    count = int((end - begin) / HOUR) + 1
    return [hour_name(begin + step * HOUR) for step in range(count)]


def _hour(text: str) -> datetime:
    try:
        hour = parse_hour(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not a full hour such as 2026-03-02-06") from None
    start = load_settings().start
    if hour < start:
        raise SettingsError("hour", text, f"the first hour is {hour_name(start)} (PIPELINE_START)")
    return hour


def _log_format() -> LogFormat:
    try:
        return load_settings().log_format
    except SettingsError:  # the command says which, if it needs them
        return LogFormat.TEXT


def _fail(message: str) -> NoReturn:
    output.note(f"pipeline-assets: {message}")
    raise SystemExit(FAILED)
