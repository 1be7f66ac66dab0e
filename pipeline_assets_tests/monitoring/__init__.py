"""Tests of `pipeline_assets.monitoring`."""
