"""`serve`, up to where uvicorn takes over."""

import socket
from typing import Any

import pytest
import uvicorn
from starlette.testclient import TestClient

from pipeline_assets.resources import Resources
from pipeline_assets.serve.command import is_loopback, serve
from pipeline_assets.serve.errors import CannotListen


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
    monkeypatch.setattr(socket, "create_server", lambda *_at, **_how: socket.socket())
    said: list[str] = []
    serve(resources, host, 8080, said.append)
    assert is_loopback(host) is loopback
    assert any("no login" in line for line in said) is not loopback
    assert [(options["host"], options["port"]) for options in started] == [(host, 8080)]


@pytest.mark.parametrize(
    ("host", "named"),
    [
        ("::1", ["localhost", "127.0.0.1", "[::1]"]),
        ("127.0.0.1", ["localhost", "127.0.0.1", "[::1]"]),
        ("127.9.9.9", ["localhost", "127.0.0.1", "[::1]", "127.9.9.9"]),
    ],
)
def test_requests_name_a_service_on_loopback_as_browsers_do(
    resources: Resources, monkeypatch: pytest.MonkeyPatch, host: str, named: list[str]
) -> None:
    """IPv6 in brackets; no name twice, since a refusal lists them. WebSockets are not spoken."""
    started: list[tuple[Any, dict[str, Any]]] = []
    monkeypatch.setattr(uvicorn, "run", lambda app, **options: started.append((app, options)))
    monkeypatch.setattr(socket, "create_server", lambda *_at, **_how: socket.socket())
    serve(resources, host, 8080, lambda _line: None)
    [(app, options)] = started
    assert options["ws"] == "none"
    with TestClient(app) as client:
        for name in named:
            for header in (name, f"{name}:8080"):
                assert client.get("/openapi.json", headers={"host": header}).status_code == 200
        refused = client.get("/openapi.json", headers={"host": "evil.example"})
    assert refused.json()["message"].endswith(f"give one of {', '.join(named)}")


def test_a_port_that_is_taken_is_said_before_anything_else(resources: Resources) -> None:
    """Not that we serve."""
    said: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(CannotListen, match=rf"port {port}: .*in use.* --port"):
            serve(resources, "127.0.0.1", port, said.append)
    assert said == []
