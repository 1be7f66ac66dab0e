"""`python -m pipeline_assets_tests.faults.memory MAX_BYTES DEADLINE_S URL …`: what fetching costs.

Prints a line of JSON: the kind of error of each URL, and by how many bytes the process grew.
"""

import json
import resource
import sys

from pipeline_assets.errors import RowError
from pipeline_assets.fetch.fetcher import HttpFetcher

IN_FLIGHT = 32


def main() -> None:
    """Fetch all of them at once, in a process that has begun already."""
    max_bytes, deadline_s, *urls = sys.argv[1:]
    with HttpFetcher(
        allow=["127.0.0.0/8"],
        concurrency=IN_FLIGHT,
        timeout_s=float(deadline_s),
        max_bytes=int(max_bytes),
    ) as fetcher:
        fetcher.fetch_all(urls[:1], len)
        before = _peak_bytes()
        outcomes = fetcher.fetch_all(urls, len)
        grown = _peak_bytes() - before
    kinds = [each.kind if isinstance(each, RowError) else None for each in outcomes]
    print(json.dumps({"kinds": kinds, "grown_bytes": grown}))


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    main()
