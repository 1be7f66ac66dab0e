"""One step of reading a feed, in a process of its own: `look`, `hour` or `rejects`."""

import sys

from pipeline_assets.ingest.items import materialize_items
from pipeline_assets.ingest.rejects import materialize_rejects
from pipeline_assets.resources import opened
from pipeline_assets.settings import load_settings


def main(step: str, feed: str, hour: str) -> None:
    """Take the step."""
    with opened(load_settings(feed=feed)) as resources:
        match step:
            case "look":
                resources.feed.landed()
            case "hour":
                materialize_items(resources, hour, "bench")
            case _:
                materialize_rejects(resources)


if __name__ == "__main__":
    main(*sys.argv[1:])
