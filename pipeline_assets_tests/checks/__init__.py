"""Tests of `pipeline_assets.checks`."""
