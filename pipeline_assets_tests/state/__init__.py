"""Tests of `pipeline_assets.state`."""
