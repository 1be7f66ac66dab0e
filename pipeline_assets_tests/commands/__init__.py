"""Tests of `pipeline_assets.stages`."""
