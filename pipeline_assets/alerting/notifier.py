"""Where alerts go: the log, a webhook, a mailbox.

`PIPELINE_NOTIFY` names them, comma-separated: `log`, `https://…` for a webhook that takes a POST
of JSON, `smtp://[user:password@]host[:port]/to@example.com[?from=…]` for a mailbox. An address may
hold a secret: only scheme and host of it are ever shown.
"""

import json
import logging
import smtplib
import socket
import ssl
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass, field
from email.message import EmailMessage
from hashlib import blake2b
from http.client import HTTPException
from typing import Protocol
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

from pipeline_assets.alerting.rules import Alert, Severity, moment
from pipeline_assets.errors import PipelineError, without_secrets

log = logging.getLogger(__name__)

LOG = "log"
WEBHOOKS = ("http", "https")
TIMEOUT_S = 10.0
"""Of several notifiers with a tick of a minute."""

SMTP_PORT = 25
ALLOWED = (
    "log, https://… (a webhook) or smtp://[user:password@]host[:port]/to@example.com[?from=…], "
    "comma-separated"
)
LEVELS = {
    Severity.ERROR: logging.ERROR,
    Severity.WARNING: logging.WARNING,
    Severity.INFO: logging.INFO,
}


class NotDelivered(PipelineError):
    """A notifier did not take an alert; it is sent again."""

    def __init__(self, notifier: str, reason: str) -> None:
        self.notifier, self.reason = notifier, without_secrets(reason)
        super().__init__(
            f"{notifier} did not take an alert: {self.reason}. It is sent again with the next "
            "tick; see PIPELINE_NOTIFY"
        )


class Notifier(Protocol):
    """Takes alerts to whoever should know."""

    @property
    def name(self) -> str:
        """What tells it from others; shows no secret."""

    def send(self, alert: Alert) -> None:
        """Deliver it. Raises `NotDelivered` where that did not succeed."""


def text(alert: Alert) -> str:
    """An alert as a person reads it."""
    return (
        f"{alert.title}\n\n{alert.happened}\n\nWhat to do: {alert.todo}\n\n"
        f"Since {moment(alert.since)} ({alert.key})"
    )


@dataclass(frozen=True, slots=True)
class LogNotifier:
    """Writes alerts to the log."""

    name: str = LOG

    def send(self, alert: Alert) -> None:
        """One record."""
        log.log(LEVELS[alert.severity], "%s", " ".join(text(alert).split()))


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """An alert goes where the setting says; after a redirect it would arrive as a GET."""

    def redirect_request(self, *_request: object) -> None:
        return None


@dataclass(frozen=True, slots=True)
class WebhookNotifier:
    """Posts alerts as JSON; `text` is what chat systems show."""

    name: str
    url: str = field(repr=False)
    timeout_s: float = TIMEOUT_S

    def send(self, alert: Alert) -> None:
        """One POST; an answer of 200 to 299 means that it was taken."""
        body = {
            "key": alert.key,
            "severity": alert.severity.value,
            "title": alert.title,
            "what_happened": alert.happened,
            "what_to_do": alert.todo,
            "since": moment(alert.since),
            "about": list(alert.keys),
            "text": text(alert),
        }
        request = urllib.request.Request(  # noqa: S310 - the setting was checked for http(s)
            self.url, json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        try:
            with urllib.request.build_opener(_NoRedirect).open(request, timeout=self.timeout_s):
                pass
        except (OSError, HTTPException) as error:
            raise NotDelivered(self.name, _reason(error)) from None


@dataclass(frozen=True, slots=True)
class MailNotifier:
    """Sends alerts to a mailbox, encrypted where the server offers it."""

    name: str
    host: str
    port: int
    to: str
    sender: str
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    timeout_s: float = TIMEOUT_S

    def send(self, alert: Alert) -> None:
        """One message."""
        message = EmailMessage()
        message["Subject"] = " ".join(f"[{alert.severity}] {alert.title}".split())
        message["From"], message["To"] = self.sender, self.to
        message.set_content(text(alert))
        try:
            with smtplib.SMTP(self.host, self.port, timeout=self.timeout_s) as server:
                self._enter(server)
                server.send_message(message)
        except (OSError, smtplib.SMTPException) as error:
            raise NotDelivered(self.name, _reason(error)) from None

    def _enter(self, server: smtplib.SMTP) -> None:
        server.ehlo()
        encrypted = server.has_extn("starttls")
        if encrypted:
            server.starttls(context=ssl.create_default_context())
            server.ehlo()
        if self.user is None:
            return
        if not encrypted:
            raise NotDelivered(self.name, "it offers no STARTTLS; no password is sent in the clear")
        server.login(self.user, self.password or "")


def parse_notifiers(entries: Sequence[str]) -> list[Notifier]:
    """The notifiers that a setting names. Raises `ValueError` that shows no secret."""
    found = [_parsed(entry) for entry in entries]
    if len({notifier.name for notifier in found}) < len(found):
        raise ValueError(f"an entry is there twice; {ALLOWED}")
    return found


def _parsed(entry: str) -> Notifier:
    if entry == LOG:
        return LogNotifier()
    try:
        url = urlsplit(entry)
        port = url.port
    except ValueError:
        raise ValueError(f"an entry is no address; {ALLOWED}") from None
    if url.scheme not in (*WEBHOOKS, "smtp") or not url.hostname:
        raise ValueError(f"an entry has no scheme or host that is known; {ALLOWED}")
    # The end tells two webhooks of a host apart, and shows nothing of either.
    tail = blake2b(entry.encode(), digest_size=4).hexdigest()
    name = f"{url.scheme}://{url.hostname} ({tail})"
    if url.scheme in WEBHOOKS:
        return WebhookNotifier(name, entry)
    return _mailbox(name, url, port or SMTP_PORT)


def _mailbox(name: str, url: SplitResult, port: int) -> MailNotifier:
    to = unquote(url.path.removeprefix("/"))
    options = parse_qs(url.query)
    sender = options.pop("from", [f"pipeline-assets@{socket.gethostname()}"])[-1]
    if options:
        raise ValueError(f"{name}: the only option of a mailbox is from; {ALLOWED}")
    for address in (to, sender):
        if address.count("@") != 1 or not address.isascii() or not address.isprintable():
            raise ValueError(f"{name}: {address!r} is no address such as ops@example.com")
    return MailNotifier(
        name,
        url.hostname or "",
        port,
        to,
        sender,
        None if url.username is None else unquote(url.username),
        None if url.password is None else unquote(url.password),
    )


def _reason(error: Exception) -> str:
    if isinstance(error, urllib.error.HTTPError):
        return f"it answered {error.code}"
    if isinstance(error, urllib.error.URLError):
        return str(error.reason)
    return f"{type(error).__name__}: {error}"
