"""Tests of `pipeline_assets.engine`."""
