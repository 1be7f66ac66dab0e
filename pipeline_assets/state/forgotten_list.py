"""The list of what is forgotten, which keeps it out: one small table beside the others.

It is not in the state database, which may be lost: whoever reads the feed reads the list anew.
"""

from collections.abc import Iterable
from datetime import datetime

import pyarrow as pa

from pipeline_assets.core.contract import SCHEMA_VERSION, SCHEMA_VERSION_KEY, TIMESTAMP
from pipeline_assets.core.forgotten import Forgotten
from pipeline_assets.core.names import FORGOTTEN
from pipeline_assets.state.leases import Leases
from pipeline_assets.store.tables import WHOLE, Tables

SCHEMA = pa.schema(
    [
        pa.field("mark", pa.string(), nullable=False),
        pa.field("since", TIMESTAMP, nullable=False),
    ],
    metadata={SCHEMA_VERSION_KEY: str(SCHEMA_VERSION).encode()},
)


class ForgottenList:
    """The marks, each with the time from which on it is kept out."""

    def __init__(self, tables: Tables, leases: Leases) -> None:
        self._tables, self._leases = tables, leases

    def read(self) -> Forgotten:
        """The list as it is now."""
        return Forgotten(frozenset(self._table()["mark"].to_pylist()))

    def add(self, marks: Iterable[str], now: datetime) -> None:
        """Keep these out from now on. Raises `LeaseHeld` while somebody else adds some."""
        with self._leases.acquire(f"{FORGOTTEN}/{WHOLE}") as lease, lease.publishing():
            seen = self._tables.version(FORGOTTEN, WHOLE)
            before = self._table()
            new = sorted(set(marks).difference(before["mark"].to_pylist()))
            if new:
                added = pa.table({"mark": new, "since": [now] * len(new)}, schema=SCHEMA)
                self._tables.write(FORGOTTEN, WHOLE, pa.concat_tables([before, added]), seen=seen)

    def _table(self) -> pa.Table:
        try:
            return self._tables.read(FORGOTTEN, WHOLE)
        except FileNotFoundError:
            return SCHEMA.empty_table()
