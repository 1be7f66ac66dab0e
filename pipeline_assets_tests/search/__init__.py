"""Tests of `pipeline_assets.search`."""
