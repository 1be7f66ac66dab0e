"""One call of a rung: with permits, within budget, counted, and every row told what came of it."""

import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from pipeline_assets.core.attempt import Attempt
from pipeline_assets.core.environment import Environment, Permit, RungStats
from pipeline_assets.core.outcomes import Uncountable, checked
from pipeline_assets.core.rows import Made, Outcome, Work
from pipeline_assets.core.stage import Rung, Stage
from pipeline_assets.errors import (
    CircuitOpen,
    RowError,
    StorageError,
    classify,
    is_context_lost,
)

log = logging.getLogger(__name__)

Answers = Sequence[Outcome] | RowError
"""One outcome per row, or the error of the whole call."""

SHARE_OF_DEADLINE = 0.2
"""Of a call that is not to be taken for a hanging one."""

Permits = dict[str, Permit]
"""One for each scope among the rows of a call."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Calls one rung of a stage with rows of one micro-batch.

    `alive` are, once rows are called for again, the scopes that have made something of the others.
    """

    stage: Stage
    number: int
    env: Environment
    stats: RungStats
    alive: frozenset[str] = frozenset()

    @property
    def rung(self) -> Rung:
        """The rung that is called."""
        return self.stage.rungs[self.number]

    @property
    def name(self) -> str:
        """What its breaker is called."""
        return f"{self.stage.name}.{self.rung.name}"

    def permitted(
        self, batch: list[Attempt], rest: list[Attempt]
    ) -> tuple[list[Attempt], Permits, list[Attempt]]:
        """The rows that breakers and budget let through, with their permits; what is left of rest.

        Whoever is refused for a reason that holds for others of the rest is not asked about again:
        where only single rows fit into memory, each of them would ask.
        """
        allowed: list[Attempt] = []
        permits: Permits = {}
        for scope, rows in by_scope(self.rung, batch).items():
            answer = self.env.gate.permit(self.name, scope)
            if isinstance(answer, CircuitOpen):
                alike = by_scope(self.rung, rest).get(scope, [])
                for each in (*rows, *alike):
                    each.refused(self.rung, answer)
                gone = {id(each) for each in alike}
                rest = [each for each in rest if id(each) not in gone]
            else:
                permits[scope] = answer
                allowed.extend(rows)
        if self.rung.cost_usd and allowed:
            granted = self.env.budget.spend(self.rung.cost_usd, len(allowed))
            if granted.refusal is not None:
                for each in (*allowed[granted.rows :], *rest):
                    each.refused(self.rung, granted.refusal)
                allowed, rest = allowed[: granted.rows], []
        if not allowed:
            _release(permits.values())
        return allowed, permits, rest

    @contextmanager
    def watched(self, works: Sequence[Work]) -> Iterator[None]:
        """The rung's own code runs, with these works: whoever watches may end it."""
        deadline_s = self.stage.deadline_s(self.rung, self.env.resources, works)
        self.env.watch.calling(self.name, [work.id for work in works], deadline_s)
        try:
            yield
        finally:
            self.env.watch.answered()

    def share_of_deadline(self, batch: Sequence[Attempt], seconds: float) -> float:
        """Of the seconds that a call of this batch should take at most, so many it took."""
        works = [each.planned.work for each in batch]
        deadline_s = self.stage.deadline_s(self.rung, self.env.resources, works)
        return seconds / (SHARE_OF_DEADLINE * deadline_s)

    def call(self, batch: Sequence[Attempt]) -> tuple[Answers | Uncountable, float]:
        """The answers, and the seconds that the call took. Raises `StorageError` alone."""
        works = tuple(map(self._work, batch))  # so that no rung can take rows out of it
        started = self.env.timer()
        with self.watched(works):
            answers = self._answers(works)
        elapsed = self.env.timer() - started
        stats = self.stats
        stats.calls += 1
        stats.seconds += elapsed
        for each in batch:
            each.seconds += elapsed / len(batch)
        return answers, elapsed

    def _answers(self, works: Sequence[Work]) -> Answers | Uncountable:
        env = self.env
        try:
            given = self.rung.call(env.resources, works)
            if isinstance(given, RowError):
                return given
            return checked(self.stage, self.rung, works, given)
        except StorageError:  # our own disk, not the rows: the run ends, what is committed stays
            raise
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # every failure of a rung is a status, never a crash
            if not isinstance(error, Exception) and env.watch.stopped():
                raise  # it ends this process, as somebody wanted
            if is_context_lost(error):
                env.watch.context_lost(error)
            return classify(error, self.rung.name)

    def _work(self, each: Attempt) -> Work:
        work = each.planned.work
        return replace(work, key=self.env.keys.key(work, self.number)) if self.rung.keyed else work

    def unmade(
        self, batch: Sequence[Attempt], permits: Permits, error: RowError, *, paid: bool = False
    ) -> None:
        """The call is made again in smaller ones: it proves nothing, and unless `paid` is free."""
        _release(permits.values())
        self.stats.errors[str(error.kind)] += 1
        if self.rung.cost_usd and not paid:
            self.env.budget.give_back(self.rung.cost_usd, len(batch))

    def settle(
        self, batch: Sequence[Attempt], answers: Answers, permits: Permits, seconds: float
    ) -> list[tuple[Attempt, RowError]]:
        """Give every row its outcome and every permit its result; who may be called for again.

        Those failed in passing, where the rung has a backoff; the others fall on.
        """
        rung, stats = self.rung, self.stats
        outcomes = [answers] * len(batch) if isinstance(answers, RowError) else answers
        failed, made = [], 0
        for each, outcome in zip(batch, outcomes, strict=True):
            each.answered(outcome, self.number, rung.cost_usd)
            if isinstance(outcome, Made):
                made += 1
                continue
            stats.errors[str(outcome.kind)] += 1
            if rung.backoff is not None and outcome.transient:
                failed.append((each, outcome))
            else:
                each.fall(rung, outcome)
        stats.rows += len(batch)
        stats.made += made
        if rung.backoff is not None:
            self.env.budget.succeeded(made)
        of_row = {id(each): outcome for each, outcome in zip(batch, outcomes, strict=True)}
        shares = by_scope(rung, batch)
        for scope, permit in permits.items():
            share = [of_row[id(each)] for each in shares.get(scope, ())]
            _tell(permit, share, seconds, alive=scope in self.alive)
        return failed


def by_scope(rung: Rung, batch: Sequence[Attempt]) -> dict[str, list[Attempt]]:
    """The rows by their breaker's scope; those that a rung cannot place share the unnamed one."""
    if rung.scope is None:
        return {"": list(batch)}
    found: dict[str, list[Attempt]] = defaultdict(list)
    for each in batch:
        found[_scope(rung, rung.scope, each.planned.work)].append(each)
    return found


def _scope(rung: Rung, scope: Callable[[Work], str], work: Work) -> str:
    try:
        return scope(work)
    except Exception:
        log.exception("%s: no scope for %s", rung.name, work.id)
        return ""


def _tell(permit: Permit, outcomes: Sequence[Outcome], seconds: float, *, alive: bool) -> None:
    """One result per call: it failed if something could pass later and nothing came of it.

    Data errors never count: a call that only found bad data was answered. Where the others of the
    micro-batch had their values (`alive`), a repeated call of just those that failed proves nothing
    by failing: they were picked for it. None of the call: the permit goes back.
    """
    transient = next((o for o in outcomes if isinstance(o, RowError) and o.transient), None)
    made = any(isinstance(outcome, Made) for outcome in outcomes)
    if not outcomes or (transient is not None and not made and alive):
        permit.release()
    elif transient is not None and not made:
        permit.failure(transient, seconds)
    else:
        permit.success(seconds)


def _release(permits: Iterable[Permit]) -> None:
    for permit in permits:
        permit.release()
