"""How long tests take, and wait.

`make test` keeps to some ten minutes on two quiet cores; what is slow because it is thorough is
left to `make test-long`. Nothing is asserted of how soon something happens: it is waited for.
"""

import os

import pytest

IS_LONG = os.environ.get("HYPOTHESIS_PROFILE") == "long"
LONG = pytest.mark.skipif(not IS_LONG, reason="takes minutes: `make test-long` runs it")

HANG_S = 600.0
"""After so long a test calls what it waits for a hang. No machine is so slow."""
