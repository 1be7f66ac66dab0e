"""What PIPELINE_FEED may name: a file, a folder, a glob, a prefix of an object store, or a URL."""

from collections.abc import Callable

from pipeline_assets.errors import FeedError
from pipeline_assets.feed.download import URLS
from pipeline_assets.feed.files import FeedFile, list_local, list_prefix
from pipeline_assets.store.s3_urls import SCHEME


def list_source(source: str, download: Callable[[str], FeedFile]) -> list[FeedFile]:
    """The files of the feed, by name; `download` gives a URL's. Raises `FeedError`, `OSError`."""
    if not source or "\0" in source:
        raise FeedError(source, "it is not set; give a file, a folder, a glob, s3://… or https://…")
    if source.startswith(URLS):
        return [download(source)]
    if source.startswith(SCHEME):
        return list_prefix(source)
    if "://" in source:
        raise FeedError(source, "it is none of a path, s3://bucket/prefix, http://… and https://…")
    return list_local(source)
