"""One writer per asset and hour: a lease with a fencing token, and a lock around the rename.

The token grows with every owner. Publishing checks it under a file lock that a successor must take
too, so an owner that slept past its lease changes nothing.
"""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import sqlalchemy as sa

from pipeline_assets.errors import LeaseHeld, LeaseLost, StorageError
from pipeline_assets.state.database import State, metadata
from pipeline_assets.store.files import locked
from pipeline_assets.store.processes import has_ended, shown, this_process

log = logging.getLogger(__name__)

leases = sa.Table(
    "leases",
    metadata,
    sa.Column("name", sa.String, primary_key=True),
    sa.Column("token", sa.BigInteger, nullable=False),
    sa.Column("owner", sa.String, nullable=False),
    sa.Column("expires_at", sa.Double, nullable=False),
)

LEASE_S = 60.0
RENEW_EVERY_S = LEASE_S / 4

FORGETTING = "forgetting"
"""The lease of whoever takes rows out of tables: one at a time."""


class Leases:
    """Hands out leases from the state database; `locks` is a folder for the file locks."""

    def __init__(self, state: State, locks: Path) -> None:
        self._state, self._locks = state, locks

    def acquire(self, name: str) -> "Lease":
        """Become the one writer of `name`. Raises `LeaseHeld` while somebody else is.

        An owner whose process has certainly ended has let go, whatever its lease says.
        """
        owner = this_process()
        with self._state.transaction() as connection:
            # A row that is not there yet cannot be locked, and two could both be its first owner.
            self._state.add_missing(
                connection, leases, name=name, token=0, owner="", expires_at=0.0
            )
            held = connection.execute(
                sa.select(leases).where(leases.c.name == name).with_for_update()
            ).one()
            now = self._state.now(connection)
            if held.expires_at > now and not has_ended(held.owner):
                raise LeaseHeld(name, shown(held.owner), held.expires_at - now)
            token = held.token + 1
            connection.execute(
                sa.update(leases)
                .where(leases.c.name == name)
                .values(token=token, owner=owner, expires_at=now + LEASE_S)
            )
        return self.joined(name, token)

    def check_free(self, asset: str) -> None:
        """Raise `LeaseHeld` while somebody is the writer of any hour of an asset."""
        query = sa.select(leases).where(leases.c.name.startswith(f"{asset}/", autoescape=True))
        with self._state.reading() as connection:
            now = self._state.now(connection)
            found = connection.execute(query.where(leases.c.expires_at > now)).all()
        for held in found:
            if not has_ended(held.owner):
                raise LeaseHeld(held.name, shown(held.owner), held.expires_at - now)

    def joined(self, name: str, token: int) -> "Lease":
        """The lease that another process of the same run holds and renews, to publish under."""
        return Lease(self._state, self._locks / f"{name.replace('/', '-')}.lock", name, token)


@dataclass(slots=True)
class Lease:
    """The right to publish one asset and hour; renewed in the background while it is held."""

    _state: State
    _lock: Path
    name: str
    token: int
    _done: threading.Event
    _renewer: threading.Thread | None

    def __init__(self, state: State, lock: Path, name: str, token: int) -> None:
        self._state, self._lock, self.name, self.token = state, lock, name, token
        self._done = threading.Event()
        self._renewer = None

    def __enter__(self) -> "Lease":
        self._renewer = threading.Thread(target=self._renew, name=f"lease {self.name}", daemon=True)
        self._renewer.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._done.set()
        if self._renewer is not None:
            self._renewer.join()
        try:
            self._expire_in(0.0)
        except (sa.exc.SQLAlchemyError, StorageError) as refused:
            # Not in the place of what ended the run: on a full disk that is worth more.
            log.warning(
                "%s: the lease could not be given back, and runs out: %s", self.name, refused
            )

    @contextmanager
    def publishing(self) -> Iterator[None]:
        """Hold the partition's file lock, with the lease certain to be ours. Raises `LeaseLost`."""
        with locked(self._lock):
            with self._state.reading() as connection:
                current = connection.execute(
                    sa.select(leases.c.token).where(leases.c.name == self.name)
                ).scalar_one_or_none()
            if current != self.token:
                raise LeaseLost(self.name, self.token, current or 0)
            yield

    def _renew(self) -> None:
        while not self._done.wait(RENEW_EVERY_S):
            try:
                self._expire_in(LEASE_S)
            except (sa.exc.SQLAlchemyError, StorageError):
                # The lease outlives a few failures; if it does not, publishing says so.
                log.exception("%s: the lease could not be renewed", self.name)

    def _expire_in(self, seconds: float) -> None:
        with self._state.transaction() as connection:
            connection.execute(
                sa.update(leases)
                .where(leases.c.name == self.name, leases.c.token == self.token)
                .values(expires_at=self._state.now(connection) + seconds)
            )
