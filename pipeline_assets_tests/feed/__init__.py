"""Tests of `pipeline_assets.feed`."""
