"""Tests of `pipeline_assets.healing`."""
