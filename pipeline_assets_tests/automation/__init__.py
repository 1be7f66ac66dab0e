"""Tests of `pipeline_assets.automation`."""
