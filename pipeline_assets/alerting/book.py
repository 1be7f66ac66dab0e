"""What was said, and what is still to be delivered, in the state database.

A message is in the outbox of each notifier in the same transaction in which it is remembered as
said: whatever dies or fails, it is sent at least once.
"""

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import sqlalchemy as sa

from pipeline_assets.alerting.notifier import NotDelivered, Notifier
from pipeline_assets.alerting.rules import Alert, Memory, Remembered, Severity, decide, shortened
from pipeline_assets.state.database import State, metadata

log = logging.getLogger(__name__)

LOOKED_AT = "alerts looked at"

alert_outbox = sa.Table(
    "alert_outbox",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("notifier", sa.String, nullable=False, index=True),
    sa.Column("alert", sa.JSON, nullable=False),
)

alerts = sa.Table(
    "alerts",
    metadata,
    sa.Column("key", sa.String, primary_key=True),
    sa.Column("alert", sa.JSON, nullable=False),
    sa.Column("stands", sa.Boolean, nullable=False),
    sa.Column("untold", sa.Integer, nullable=False),
    sa.Column("said", sa.JSON, nullable=False),
)


@dataclass(frozen=True, slots=True)
class Delivered:
    """What a notifier was sent, and why no more: messages that were taken, and that still wait."""

    notifier: str
    taken: int
    waiting: int
    refused: str | None = None


class AlertBook:
    """The memory of conditions, and an outbox for each notifier."""

    def __init__(self, state: State) -> None:
        self._state = state

    def now(self) -> float:
        """The clock that all conditions go by."""
        with self._state.reading() as connection:
            return self._state.now(connection)

    def looked_at(self) -> float | None:
        """When somebody looked the last time; None: never."""
        found = self._state.fact(LOOKED_AT)
        return None if found is None else float(found)

    def standing(self) -> list[Alert]:
        """The conditions that stood at the last look, the oldest first."""
        with self._state.reading() as connection:
            memory = _memory(connection)
        found = [each.alert for each in memory.values() if each.stands]
        return sorted(found, key=lambda alert: (alert.since, alert.key))

    def look(self, standing: Sequence[Alert], notifiers: Sequence[Notifier]) -> int:
        """Remember what stands now and what is to be said of it; the number of messages."""
        with self._state.transaction() as connection:
            now = self._state.now(connection)
            before = _memory(connection)
            after, messages = decide(standing, before, now)
            _replace(connection, self._state, before, after)
            rows = [
                {"notifier": notifier.name, "alert": asdict(message)}
                for notifier in notifiers
                for message in messages
            ]
            if rows:
                connection.execute(sa.insert(alert_outbox), rows)
        self._state.remember(LOOKED_AT, now)
        return len(messages)

    def deliver(self, notifiers: Sequence[Notifier], most: int) -> list[Delivered]:
        """Send what waits, to each notifier at most `most` messages and one that sums up.

        A notifier that refuses one is left alone until the next time; the others go on.
        """
        self._drop_others([notifier.name for notifier in notifiers])
        return [self._deliver(notifier, most) for notifier in notifiers]

    def _deliver(self, notifier: Notifier, most: int) -> Delivered:
        waiting = self._waiting(notifier.name)
        taken = 0
        for message in shortened(list(waiting.values()), most):
            try:
                notifier.send(message)
            except NotDelivered as error:
                log.warning("%s", error)
                return Delivered(notifier.name, taken, len(waiting), error.reason)
            taken += 1
            sent = _covered(waiting, message)
            self._remove(sent)
            waiting = {number: each for number, each in waiting.items() if number not in sent}
        return Delivered(notifier.name, taken, 0)

    def _waiting(self, notifier: str) -> dict[int, Alert]:
        query = sa.select(alert_outbox.c.id, alert_outbox.c.alert)
        query = query.where(alert_outbox.c.notifier == notifier).order_by(alert_outbox.c.id)
        with self._state.reading() as connection:
            return {row.id: _loaded(row.alert) for row in connection.execute(query)}

    def _remove(self, numbers: Sequence[int]) -> None:
        with self._state.transaction() as connection:
            connection.execute(
                sa.delete(alert_outbox).where(alert_outbox.c.id == sa.bindparam("number")),
                [{"number": number} for number in numbers],
            )

    def _drop_others(self, names: Sequence[str]) -> None:
        """What waits for a notifier that is no longer set waits for nobody."""
        with self._state.transaction() as connection:
            gone = connection.execute(
                sa.delete(alert_outbox).where(alert_outbox.c.notifier.not_in(names))
            )
        if gone.rowcount:
            log.warning(
                "%d alerts waited for notifiers that PIPELINE_NOTIFY no longer names, and were "
                "dropped; `pipeline-assets alerts` lists what stands",
                gone.rowcount,
            )


def _covered(waiting: dict[int, Alert], message: Alert) -> list[int]:
    """The waiting messages that one that was sent is or sums up."""
    if not message.about:
        return [next(number for number, each in waiting.items() if each == message)]
    return list(waiting)  # the summary is the last one: it tells of all that is left


def _memory(connection: sa.Connection) -> Memory:
    return {
        row.key: Remembered(_loaded(row.alert), row.stands, row.untold, tuple(row.said))
        for row in connection.execute(sa.select(alerts))
    }


def _replace(
    connection: sa.Connection, state: State, before: Memory, after: dict[str, Remembered]
) -> None:
    gone = [{"of": key} for key in before if key not in after]
    if gone:
        connection.execute(sa.delete(alerts).where(alerts.c.key == sa.bindparam("of")), gone)
    changed = [
        {
            "key": key,
            "alert": asdict(each.alert),
            "stands": each.stands,
            "untold": each.untold,
            "said": list(each.said),
        }
        for key, each in after.items()
        if before.get(key) != each
    ]
    state.upsert(connection, alerts, changed)


def _loaded(stored: Any) -> Alert:
    return Alert(
        **{**stored, "severity": Severity(stored["severity"]), "about": tuple(stored["about"])}
    )
