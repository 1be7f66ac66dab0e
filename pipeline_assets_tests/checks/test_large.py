"""What checking an hour costs."""

import time

from pipeline_assets_tests.checks.large import judge, tables_of_an_hour

ITEMS = 10_000
AT_MOST_S = 3.0
TRIES = 3


def test_all_suites_of_an_hour_of_ten_thousand_items_take_under_three_seconds() -> None:
    """Beyond importing the library, once; in the process's own time, where others run too.

    It measures 2 s on a quiet machine; a crowded one has three tries.
    """
    judge(tables_of_an_hour(1))
    hour = tables_of_an_hour(ITEMS)

    def taken_s() -> float:
        started = time.process_time()
        results = judge(hour)
        assert all(result.passed for result in results)
        assert len(results) == 1 + 3 * (len(hour) - 1)
        return time.process_time() - started

    assert any(taken_s() < AT_MOST_S for _ in range(TRIES))
