"""img2dataset's share of ingest: `python peer_img2dataset.py URLS FOLDER raw|resize`.

Run in its own environment. Two processes with 16 threads each, and as many shards, in webdataset
format, which is its fastest; no EXIF is read, which nobody asked for. Prints a line of JSON: rows,
seconds from the first shard's beginning to the last one's end by its own statistics, CPU seconds.
"""

import json
import resource
import sys
from contextlib import redirect_stderr, redirect_stdout
from importlib import import_module
from pathlib import Path

PROCESSES, THREADS = 2, 16
SIDE = 256


def main() -> None:
    """Measure once and print it."""
    urls, folder, what = sys.argv[1:]
    rows = len(Path(urls).read_text().split())
    output = Path(folder, "output")
    how = (
        {"disable_all_reencoding": True}
        if what == "raw"
        else {"resize_mode": "keep_ratio", "image_size": SIDE}
    )
    with redirect_stdout(sys.stderr), redirect_stderr(sys.stderr):
        import_module("img2dataset").download(
            url_list=urls,
            input_format="txt",
            output_folder=str(output),
            output_format="webdataset",
            processes_count=PROCESSES,
            thread_count=THREADS,
            number_sample_per_shard=-(-rows // PROCESSES),
            extract_exif=False,
            **how,
        )
    shards = [json.loads(path.read_text()) for path in output.glob("*_stats.json")]
    stored = sum(shard["successes"] for shard in shards)
    if stored != rows:
        raise RuntimeError(f"img2dataset stored {stored} of {rows} images")
    seconds = max(each["end_time"] for each in shards) - min(each["start_time"] for each in shards)
    print(json.dumps({"rows": rows, "seconds": seconds, "cpu_s": _cpu_seconds()}))


def _cpu_seconds() -> float:
    """Of this process and of those that it has waited for."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


if __name__ == "__main__":
    main()
