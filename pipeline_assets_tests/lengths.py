"""What `make test-long` does beyond `make test`, which keeps to fifteen minutes on two cores."""

import os

import pytest

IS_LONG = os.environ.get("HYPOTHESIS_PROFILE") == "long"
LONG = pytest.mark.skipif(not IS_LONG, reason="takes minutes: `make test-long` runs it")
