"""What people should know of a feed behind a URL: that there is no newer copy, and since when."""

from collections.abc import Iterator
from datetime import UTC, datetime

from pipeline_assets.alerting.rules import Alert, Severity
from pipeline_assets.errors import without_secrets
from pipeline_assets.resources import Resources


def stale_feeds(resources: Resources) -> Iterator[Alert]:
    """The feed, where its server gave no newer copy when it was asked last."""
    source = resources.settings.feed
    copy = resources.downloads.copy(source)
    if copy is None or copy.refusal is None or copy.refused_since is None:
        return
    kept_from = datetime.fromtimestamp(copy.fetched_at, UTC)
    yield Alert(
        "feed:stale",
        Severity.WARNING,
        "the feed cannot be fetched anew",
        f"{without_secrets(source)} gave no feed: {copy.refusal}. The copy of "
        f"{kept_from:%Y-%m-%d %H:%M} UTC is read on; what changed since then waits.",
        "Nothing, if its server is down; it is asked again every PIPELINE_FEED_REFRESH. Else mend "
        "PIPELINE_FEED, and look at `pipeline-assets doctor`.",
        copy.refused_since,
    )
