"""The platform as its users run it: webserver and daemon, started for real and killed for real."""

import os

import pytest

LONG = pytest.mark.skipif(
    os.environ.get("HYPOTHESIS_PROFILE") != "long",
    reason="the daemon works at its real pace, for minutes: `make test-long` runs it",
)
