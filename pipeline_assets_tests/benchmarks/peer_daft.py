"""Daft's share of ingest: `python peer_daft.py URLS FOLDER`, in its own environment.

Downloads into Parquet, with as many connections as it takes by itself. Prints a line of JSON: rows,
seconds, CPU seconds.
"""

import json
import resource
import sys
import time
from importlib import import_module
from pathlib import Path


def main() -> None:
    """Measure once and print it."""
    urls, folder = sys.argv[1:]
    daft = import_module("daft")
    asked = Path(urls).read_text().split()
    output = Path(folder, "output")
    started = time.perf_counter()
    table = daft.from_pydict({"url": asked})
    table = table.with_column("bytes", daft.functions.download(table["url"], on_error="null"))
    table.write_parquet(str(output))
    seconds = time.perf_counter() - started
    stored = daft.read_parquet(str(output)).where(daft.col("bytes").not_null()).count_rows()
    if stored != len(asked):
        raise RuntimeError(f"daft stored {stored} of {len(asked)} images")
    used = resource.getrusage(resource.RUSAGE_SELF)
    cpu_s = used.ru_utime + used.ru_stime
    print(json.dumps({"rows": len(asked), "seconds": seconds, "cpu_s": cpu_s}))


if __name__ == "__main__":
    main()
