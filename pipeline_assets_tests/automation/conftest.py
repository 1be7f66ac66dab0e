"""The degraded hour of the asset tests, for sensors to find."""

from pipeline_assets_tests.assets.conftest import copied, degraded_root  # noqa: F401 - fixtures
