"""Notifiers against a real HTTP server and a real SMTP conversation."""

import json
import logging
import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from pipeline_assets.alerting.notifier import (
    MailNotifier,
    NotDelivered,
    Notifier,
    WebhookNotifier,
    parse_notifiers,
)
from pipeline_assets.alerting.rules import Alert, Severity
from pipeline_assets.errors import SettingsError
from pipeline_assets.settings import load_settings

ALERT = Alert(
    "run:hour/2026-03-02-06",
    Severity.ERROR,
    "the run of hour failed\r\nBcc: everybody@example.com",
    "Run 1 failed: é",
    "Run it again.",
    1772434800.0,
)


class FakeHook(BaseHTTPRequestHandler):
    """A webhook that keeps what it is sent, and answers as it is told."""

    status = 200
    received: list[Any]

    def do_POST(self) -> None:
        """Take a message."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.received.append((self.path, self.headers["Content-Type"], json.loads(body)))
        self.send_response(self.status)
        if self.status == 302:
            self.send_header("Location", "/elsewhere")
        self.end_headers()

    def do_GET(self) -> None:
        """Where a redirected message would arrive without its body."""
        self.received.append((self.path, None, None))
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's
        """Nothing."""


class FakeMail(socketserver.StreamRequestHandler):
    """A fake SMTP server: just enough of the protocol to take one message a connection."""

    received: list[list[str]]
    refuses = False

    def handle(self) -> None:
        """One conversation."""
        self._say("220 fake")
        lines: list[str] = []
        for line in iter(lambda: self.rfile.readline().decode().rstrip("\r\n"), ""):
            lines.append(line)
            verb = line[:4].upper()
            if verb == "DATA":
                self._say("354 go on")
                lines += iter(lambda: self.rfile.readline().decode().rstrip("\r\n"), ".")
            if verb == "QUIT":
                self._say("221 bye")
                break
            self._say("550 no" if self.refuses and verb == "RCPT" else "250 fine")
        self.received.append(lines)

    def _say(self, line: str) -> None:
        self.wfile.write(f"{line}\r\n".encode())


@contextmanager
def serving(server: socketserver.TCPServer) -> Iterator[int]:
    """The server's port, while it serves."""
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def hook(status: int = 200) -> Iterator[tuple[str, list[Any]]]:
    """A webhook's address, and what arrives there."""
    received: list[Any] = []
    handler = type("Hook", (FakeHook,), {"received": received, "status": status})
    with serving(ThreadingHTTPServer(("127.0.0.1", 0), handler)) as port:
        yield f"http://127.0.0.1:{port}/services/s3cret", received


@contextmanager
def mailbox(*, refuses: bool = False) -> Iterator[tuple[str, list[list[str]]]]:
    """A mailbox's address, and the conversations that its server has had."""
    received: list[list[str]] = []
    handler = type("Mail", (FakeMail,), {"received": received, "refuses": refuses})
    with serving(socketserver.ThreadingTCPServer(("127.0.0.1", 0), handler)) as port:
        yield f"smtp://127.0.0.1:{port}/ops@example.com?from=pa@example.com", received


def only(entry: str) -> Notifier:
    """The notifier of a setting with one entry."""
    [notifier] = parse_notifiers([entry])
    return notifier


def test_the_log_has_one_line_for_an_alert(caplog: pytest.LogCaptureFixture) -> None:
    """At the level of its severity, with what to do."""
    with caplog.at_level(logging.INFO):
        only("log").send(ALERT)
    [record] = caplog.records
    assert record.levelno == logging.ERROR
    assert "\n" not in record.getMessage()
    assert "What to do: Run it again." in record.getMessage()


def test_a_webhook_gets_the_alert_as_json() -> None:
    """With a text that chat systems show, and its parts for machines."""
    with hook() as (url, received):
        only(url).send(ALERT)
    [(path, kind, body)] = received
    assert (path, kind) == ("/services/s3cret", "application/json")
    assert body["key"] == "run:hour/2026-03-02-06"
    assert (body["severity"], body["what_to_do"]) == ("error", "Run it again.")
    assert body["since"] == "2026-03-02T07:00:00Z"
    assert "Run 1 failed: é" in body["text"]


@pytest.mark.parametrize("status", [302, 404, 500])
def test_a_webhook_that_does_not_take_it_is_an_error_without_its_secret(status: int) -> None:
    """A redirect is not followed: the message would arrive empty, and elsewhere."""
    with hook(status) as (url, received), pytest.raises(NotDelivered) as caught:
        only(url).send(ALERT)
    assert len(received) == 1
    assert f"it answered {status}" in str(caught.value)
    assert "s3cret" not in str(caught.value) + repr(only(url))


def test_nobody_there_is_an_error_and_soon_one() -> None:
    """Refused at once, or silent until the time is over."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        for notifier in (
            WebhookNotifier("hook", f"http://127.0.0.1:{port}/", timeout_s=0.05),
            MailNotifier("mail", "127.0.0.1", port, "a@b", "c@d", timeout_s=0.05),
        ):
            with pytest.raises(NotDelivered, match="timed out"):
                notifier.send(ALERT)
    for entry in (f"http://127.0.0.1:{port}/", f"smtp://127.0.0.1:{port}/ops@example.com"):
        with pytest.raises(NotDelivered, match="refused"):
            only(entry).send(ALERT)


def test_a_mailbox_gets_the_alert_as_a_message() -> None:
    """A title cannot add a header of its own."""
    with mailbox() as (entry, received):
        only(entry).send(ALERT)
    [lines] = received
    # Verbs are written in capitals or not, as the version of Python will.
    envelope = " ".join(lines[: lines.index("")]).lower()
    assert "mail from:<pa@example.com>" in envelope
    assert "rcpt to:<ops@example.com>" in envelope
    headers = lines[: lines.index("")]
    subject = next(line for line in headers if line.startswith("Subject: "))
    assert subject.startswith("Subject: [error] the run of hour failed Bcc: everybody@")
    assert not any(line.startswith("Bcc:") for line in headers)
    assert "What to do: Run it again." in lines


def test_a_mail_server_that_refuses_is_an_error() -> None:
    """It names the server, and what that said."""
    with mailbox(refuses=True) as (entry, _), pytest.raises(NotDelivered, match="550"):
        only(entry).send(ALERT)


def test_no_password_is_sent_in_the_clear() -> None:
    """A server that is given one offers encryption."""
    with mailbox() as (entry, received):
        notifier = only(entry.replace("smtp://", "smtp://me:s3cret@"))
        with pytest.raises(NotDelivered, match="offers no STARTTLS"):
            notifier.send(ALERT)
    assert "s3cret" not in str(received) + repr(notifier)


def test_a_setting_may_name_several() -> None:
    """Each has a name that shows no secret, and tells it from the others."""
    setting = "log, https://hooks.example.com/a, https://hooks.example.com/b, smtp://m:26/o@e.com"
    notifiers = parse_notifiers(load_settings(notify=setting).notify)
    names = [notifier.name for notifier in notifiers]
    assert len(set(names)) == 4
    assert [name.partition(" ")[0] for name in names] == [
        "log",
        "https://hooks.example.com",
        "https://hooks.example.com",
        "smtp://m",
    ]


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("pager", "no scheme or host"),
        ("ftp://example.com/x", "no scheme or host"),
        ("https://", "no scheme or host"),
        ("https://example.com:port/x", "no address"),
        ("smtp://mail.example.com", "no address such as"),
        ("smtp://mail.example.com/ops", "no address such as"),
        ("smtp://mail.example.com/o@e.com?cc=x@e.com", "only option"),
        ("smtp://mail.example.com/o%0A@e.com", "no address such as"),
        ("log,log", "twice"),
    ],
)
def test_a_wrong_setting_stops_the_start(setting: str, said: str) -> None:
    """With the field, and what is allowed."""
    with pytest.raises(SettingsError, match="PIPELINE_NOTIFY") as caught:
        load_settings(notify=setting)
    assert said in str(caught.value)
