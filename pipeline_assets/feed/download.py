"""A feed behind a URL: asked for now and then, kept on disk, and read from there.

A server that does not answer, or with what is no feed, is no reason to stop: what it sent last
stays the feed, and since when is remembered, so that people are told.
"""

import asyncio
import hashlib
import logging
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from pipeline_assets.core.fingerprint import digest
from pipeline_assets.errors import FeedError, RowError, Timeout, TooLarge, classify
from pipeline_assets.feed.files import ENDINGS, PACKED, DiskFiles, FeedFile
from pipeline_assets.fetch.addresses import AddressRules, shown
from pipeline_assets.state.database import State
from pipeline_assets.store.files import Temporary, replace_durably, storage_errors
from pipeline_assets.store.validators import Validators

if TYPE_CHECKING:
    from pipeline_assets.fetch.request import Response
    from pipeline_assets.store.bodies import Body

URLS: Final = ("http://", "https://")
DEADLINE_S: Final = 3600.0
"""Of a download; one that the server feeds too slowly for its size is no feed for an hourly run."""

Check = Callable[[FeedFile], object]
"""Raises `FeedError` for a file that is no feed."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class FeedCopy:
    """The copy that is kept of a feed, and what is known of it; times in seconds.

    `refusal` is why there is no newer one, and `refused_since` when that began. `validated_url` is
    where redirects ended, which the validators belong to.
    """

    file: str
    etag: str | None
    last_modified: str | None
    fetched_at: float
    ask_again_at: float
    refusal: str | None = None
    refused_since: float | None = None
    validated_url: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DownloadRules:
    """`timeout_s` bounds connecting and silence, by their shares; a copy is `fresh_for` so long."""

    allow: tuple[str, ...]
    timeout_s: float
    max_bytes: int
    fresh_for: timedelta
    contact: str


class Downloads:
    """The copies of feeds in a folder; what is known of them is in the state database."""

    def __init__(self, folder: Path, state: State, rules: DownloadRules) -> None:
        self._folder, self._state, self._rules = folder, state, rules

    def is_due(self, url: str) -> bool:
        """Whether `file` would ask the server."""
        if not url.startswith(URLS):
            return False
        copy = self.copy(url)
        return copy is None or self._now() >= copy.ask_again_at

    def copy(self, url: str) -> FeedCopy | None:
        """What is kept of the feed, if anything is."""
        stored = self._state.fact(_fact(url))
        copy = None if stored is None else FeedCopy(**stored)
        return copy if copy is not None and (self._folder / copy.file).is_file() else None

    def file(self, url: str, check: Check) -> FeedFile:
        """The feed's copy, a new one if it is time and there is one.

        Raises `FeedError` where there is none at all.
        """
        copy = self.copy(url)
        if copy is not None and self._now() < copy.ask_again_at:
            return self._file(url, copy)
        try:
            copy = self._asked(url, copy, check)
        except (RowError, FeedError) as error:
            reason = error.reason if isinstance(error, FeedError) else error.message
            if copy is None:
                raise FeedError(url, reason) from None
            copy = self._refused(copy, error)
            _log.warning("the copy of %s is read on: %s", shown(url), reason)
        self._state.remember(_fact(url), asdict(copy))
        return self._file(url, copy)

    def _asked(self, url: str, copy: FeedCopy | None, check: Check) -> FeedCopy:
        answer = self._answer(url, copy)
        now = self._now()
        again = now + self._rules.fresh_for.total_seconds()
        if answer.body is None and copy is not None:
            return replace(copy, ask_again_at=again, refusal=None, refused_since=None)
        new = FeedCopy(
            self._kept(url, answer.body or b""),
            answer.etag,
            answer.last_modified,
            now,
            again,
            validated_url=answer.url,
        )
        try:
            check(self._file(url, new))
        except FeedError:
            if copy is None or new.file != copy.file:
                (self._folder / new.file).unlink()
            raise
        self._remove_all_but(url, {new.file, copy.file if copy is not None else new.file})
        return new

    def _answer(self, url: str, copy: FeedCopy | None) -> "Response":
        with ThreadPoolExecutor(1) as thread:  # also where a loop runs
            try:
                return thread.submit(asyncio.run, self._get(url, copy)).result()
            except TimeoutError:
                raise Timeout(f"no complete answer within {DEADLINE_S:g} s") from None
            except TooLarge:
                limit = f"{self._rules.max_bytes} bytes (PIPELINE_FEED_MAX_BYTES)"
                raise TooLarge(f"it is over the limit of {limit}") from None
            except Exception as error:  # noqa: BLE001 - whatever a server does
                raise classify(error) from None

    async def _get(self, url: str, copy: FeedCopy | None) -> "Response":
        from pipeline_assets.fetch.request import (  # noqa: PLC0415 - aiohttp: 0.3 s
            RequestRules,
            Requests,
        )

        requests = Requests(
            RequestRules(
                addresses=AddressRules(self._rules.allow),
                per_host=1,
                timeout_s=self._rules.timeout_s,
                max_bytes=self._rules.max_bytes,
                contact=self._rules.contact,
                honour_opt_out=False,  # it is the reader's own feed
            )
        )
        known = None
        if copy is not None:
            known = Validators(copy.etag, copy.last_modified, copy.validated_url)
        try:
            async with asyncio.timeout(DEADLINE_S):
                return await requests.get(url, known, _NoTurns())
        finally:
            await requests.close()

    def _kept(self, url: str, body: "Body") -> str:
        """Keep the bytes under a name that no other version has."""
        chunks = [body] if isinstance(body, bytes) else body.chunks()
        incoming = Temporary(self._folder / _stem(url))
        hashed = hashlib.sha256()
        try:
            with storage_errors(incoming.path):
                self._folder.mkdir(parents=True, exist_ok=True)
                with incoming.open() as file:
                    for chunk in chunks:
                        hashed.update(chunk)
                        file.write(chunk)
            if not isinstance(body, bytes):
                body.close()
            name = f"{_stem(url)}-{hashed.hexdigest()[:20]}{_ending(url)}"
            replace_durably(incoming.path, self._folder / name)
        finally:
            incoming.release()
        return name

    def _remove_all_but(self, url: str, kept: Iterable[str]) -> None:
        """The copy before this one stays: somebody may be reading it."""
        for path in self._folder.glob(f"{_stem(url)}-*"):
            if path.name not in kept:
                with suppress(OSError):  # rubbish that stays is no reason not to read
                    path.unlink()

    def _refused(self, copy: FeedCopy, error: RowError | FeedError) -> FeedCopy:
        now = self._now()
        asked = error.retry_after if isinstance(error, RowError) else None
        return replace(
            copy,
            ask_again_at=now + max(self._rules.fresh_for, asked or timedelta()).total_seconds(),
            refusal=error.message if isinstance(error, RowError) else error.reason,
            refused_since=copy.refused_since or now,
        )

    def _file(self, url: str, copy: FeedCopy) -> FeedFile:
        path = str(self._folder / copy.file)
        modified = _time(copy.last_modified) or datetime.fromtimestamp(int(copy.fetched_at), UTC)
        name = PurePosixPath(urlsplit(url).path).name or urlsplit(url).hostname or "feed"
        disk = DiskFiles()
        return FeedFile(name, path, disk, disk.version(path), modified)

    def _now(self) -> float:
        with self._state.reading() as connection:
            return self._state.now(connection)


class _NoTurns:
    """One request every few minutes waits for no turn, and its Retry-After is the copy's."""

    async def may_ask(self, host: str) -> None:
        """At once."""

    async def leave_alone(self, host: str, wait: timedelta, why: str) -> None:
        """It is left alone until the copy is due again."""


def _fact(url: str) -> str:
    return f"feed.copy:{digest(url)}"


def _stem(url: str) -> str:
    return digest(url)


def _ending(url: str) -> str:
    """The ending that says what is in it, if the URL has one."""
    path = urlsplit(url).path.lower()
    packed = PACKED if path.endswith(PACKED) else ""
    plain = path.removesuffix(PACKED)
    return next((ending + packed for ending in ENDINGS if plain.endswith(ending)), "")


def _time(said: str | None) -> datetime | None:
    """A time as HTTP has it."""
    with suppress(TypeError, ValueError):
        return parsedate_to_datetime(said or "").astimezone(UTC)
    return None
