"""Tests of `pipeline_assets.fetch`."""
