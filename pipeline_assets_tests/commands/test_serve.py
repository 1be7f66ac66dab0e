"""`serve`, up to where uvicorn takes over."""

from typing import Any

import pytest
import uvicorn

from pipeline_assets.commands.serve import is_loopback, serve
from pipeline_assets.resources import Resources


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),  # noqa: S104 - the point
        ("::", False),
        ("10.0.0.1", False),
        ("shop.example", False),
    ],
)
def test_a_host_that_others_reach_is_warned_of(
    resources: Resources, monkeypatch: pytest.MonkeyPatch, host: str, loopback: bool
) -> None:
    """There is no login."""
    started: list[dict[str, Any]] = []
    monkeypatch.setattr(uvicorn, "run", lambda _app, **options: started.append(options))
    said: list[str] = []
    serve(resources, host, 8080, said.append)
    assert is_loopback(host) is loopback
    assert any("no login" in line for line in said) is not loopback
    assert [(options["host"], options["port"]) for options in started] == [(host, 8080)]
