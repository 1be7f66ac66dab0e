"""Where a URL's bytes come from: the web, or object storage."""

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from pipeline_assets.errors import RowError
from pipeline_assets.fetch.fetcher import NOTHING_KNOWN, Fetched, HttpFetcher, Unchanged
from pipeline_assets.fetch.s3_source import S3Source, is_s3
from pipeline_assets.store.bodies import Body
from pipeline_assets.store.validators import Validators

T = TypeVar("T")


class Sources:
    """Sends `s3://` addresses to the one and all others to the other, which refuses what is odd."""

    def __init__(self, web: HttpFetcher, objects: S3Source) -> None:
        self._web, self._objects = web, objects

    def fetch_all(
        self,
        urls: Sequence[str],
        store: Callable[[Body], T],
        known: Mapping[str, Validators] = NOTHING_KNOWN,
    ) -> list[Fetched[T] | Unchanged | RowError]:
        """One outcome per URL, in order."""
        outcomes: dict[str, Fetched[T] | Unchanged | RowError] = {}
        for fetcher, mine in (
            (self._objects, [url for url in urls if is_s3(url)]),
            (self._web, [url for url in urls if not is_s3(url)]),
        ):
            if mine:
                outcomes.update(zip(mine, fetcher.fetch_all(mine, store, known), strict=True))
        return [outcomes[url] for url in urls]

    def close(self) -> None:
        """Close connections."""
        self._web.close()
