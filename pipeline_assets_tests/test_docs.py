"""What the docs' pages say of the code is so."""

import re
import threading
from collections.abc import Iterator
from dataclasses import fields
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from pipeline_assets.core.rows import Made, Outcome, Work
from pipeline_assets.core.stage import Rung, Stage
from pipeline_assets.errors import Overloaded, RateLimited, RowError, Unavailable
from pipeline_assets_tests import REPOSITORY

DOCS = REPOSITORY / "docs"
PAGE = (DOCS / "adding-a-stage.md").read_text()
LANGUAGE, PROVIDER, _LOCATION = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


def test_the_page_shows_the_file_as_it_is() -> None:
    """Every line of it."""
    assert (DOCS / "language.py").read_text() == LANGUAGE


@pytest.mark.parametrize("declared", [Stage, Rung])
def test_the_page_explains_every_field_of_a_declaration(declared: type) -> None:
    """In the first column of the table that is headed by its name."""
    table = PAGE.partition(f"| `{declared.__name__}` | |\n")[2].partition("\n\n")[0]
    explained = [name for row in table.splitlines() for name in re.findall("`(.*?)`", first(row))]
    assert sorted(explained) == sorted(each.name for each in fields(declared))


def first(row: str) -> str:
    """The first cell of a row."""
    return row.split("|")[1]


class Provider(BaseHTTPRequestHandler):
    """Answers with the status that the text names, and remembers the keys."""

    def do_POST(self) -> None:
        """Answer."""
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        status = int(re.findall(r"\d{3}", body)[0])
        self.server.keys.append(self.headers["Idempotency-Key"])  # type: ignore[attr-defined]
        self.send_response(status)
        self.send_header("Retry-After", "7")
        self.end_headers()
        self.wfile.write(b'{"summary": "short"}')

    def log_message(self, *_message: object) -> None:
        """Say nothing."""


@pytest.fixture
def provider() -> Iterator[ThreadingHTTPServer]:
    """A provider on loopback."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Provider) as server:
        server.keys = []  # type: ignore[attr-defined]
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def test_the_rung_that_bills_does_what_the_page_says(provider: Any) -> None:
    """A row's key goes along, and each answer is the outcome of its own row."""
    example: dict[str, Any] = {}
    exec(PROVIDER, example)  # noqa: S102 - the page's own example
    example["URL"] = f"http://127.0.0.1:{provider.server_port}"
    rung: Rung = example["PROVIDER"]
    assert (rung.keyed, rung.cost_usd > 0, rung.backoff is not None) == (True, True, True)

    def ask(*statuses: int) -> list[Outcome]:
        works = [Work((f"{s}",), {example["TEXT"]: f"say {s}"}, key=f"key {s}") for s in statuses]
        return list(rung.call(None, works))

    made, limited, failing, refused = ask(200, 429, 503, 403)
    assert made == Made(("short",))
    assert [type(each) for each in (limited, failing, refused)] == [
        RateLimited,
        Overloaded,
        Unavailable,
    ]
    assert isinstance(limited, RowError)
    assert limited.retry_after == timedelta(seconds=7)
    assert provider.keys == ["key 200", "key 429", "key 503", "key 403"]
    example["URL"] = "http://127.0.0.1:1"
    [gone] = ask(200)
    assert isinstance(gone, RowError)
    assert gone.transient
