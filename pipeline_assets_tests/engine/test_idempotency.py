"""A provider that bills each key once: no row is paid for twice, whatever is lost on the way."""

import csv
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from pipeline_assets.ingest.items import materialize_items
from pipeline_assets_tests.conftest import HOUR
from pipeline_assets_tests.engine import billing_process
from pipeline_assets_tests.engine.billing_process import DIED, Provider, open_data, run

ITEMS = 10
EVENT_TIME = "2026-03-02T06:05:00Z"


@dataclass
class Ledger:
    """What the provider has billed, and how often it was asked under each key."""

    url: str = ""
    answers: dict[str, str] = field(default_factory=dict)
    billed: Counter[str] = field(default_factory=Counter)
    asked: Counter[str] = field(default_factory=Counter)
    loses_first_answers: bool = False

    def post(self, key: str, name: str) -> tuple[int, str]:
        """Do the work once for each key, bill it, and answer, if the answer is not lost."""
        self.asked[key] += 1
        if key not in self.answers:
            self.answers[key] = name.upper()
            self.billed[key] += 1
        if self.loses_first_answers and self.asked[key] == 1:
            return 503, ""
        return 200, self.answers[key]


@pytest.fixture
def ledger() -> Iterator[Ledger]:
    """A provider on this host."""
    books = Ledger()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            name = self.rfile.read(int(self.headers["Content-Length"])).decode()
            status, text = books.post(self.headers["Idempotency-Key"], name)
            self.send_response(status)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_arguments: Any) -> None:
            """In silence."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    books.url = f"http://127.0.0.1:{server.server_port}/"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield books
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data root with a few items."""
    root = tmp_path / "data"
    root.mkdir()
    with (root / "feed.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["item_id", "name", "kind", "event_time"])
        writer.writerows((f"i{n}", f"name {n}", "product", EVENT_TIME) for n in range(ITEMS))
    resources = open_data(root)
    materialize_items(resources, HOUR, "run")
    resources.close()
    return root


def rows(data: Path) -> list[dict[str, Any]]:
    """The rows of the table."""
    resources = open_data(data)
    found = resources.tables.read("billed", HOUR).to_pylist()
    resources.close()
    return list(found)


@pytest.mark.parametrize("die_after", [1, 4, 7])
def test_a_run_that_dies_between_answer_and_checkpoint_pays_for_no_row_twice(
    data: Path, ledger: Ledger, die_after: int
) -> None:
    """The next run asks again under the same keys, for the micro-batch in flight at most."""
    process = [sys.executable, "-m", billing_process.__name__]
    died = subprocess.run([*process, str(data), ledger.url, str(die_after)], check=False)
    assert died.returncode == DIED
    assert sum(ledger.billed.values()) == die_after
    run(data, Provider(ledger.url))
    assert [row["said"] for row in rows(data)] == [f"NAME {n}" for n in range(ITEMS)]
    assert set(ledger.billed.values()) == {1}
    assert ledger.billed.keys() == {row["key"] for row in rows(data)}
    twice = sum(count - 1 for count in ledger.asked.values())
    assert 0 < twice <= billing_process.BATCH


def test_an_answer_that_is_lost_within_a_run_is_asked_for_under_the_same_key(
    data: Path, ledger: Ledger
) -> None:
    """The provider answers from its books, and the row is made."""
    ledger.loses_first_answers = True
    report = run(data, Provider(ledger.url))
    assert set(ledger.asked.values()) == {2}
    assert set(ledger.billed.values()) == {1}
    assert {(row["status"], row["attempts"]) for row in rows(data)} == {("ok", 2)}
    assert report.rungs["provider"].made == ITEMS


def test_a_row_that_is_done_is_never_asked_for_again(data: Path, ledger: Ledger) -> None:
    """The second run has nothing to do."""
    run(data, Provider(ledger.url))
    run(data, Provider(ledger.url))
    assert sum(ledger.asked.values()) == ITEMS
