"""Tests of `pipeline_assets.store`."""
