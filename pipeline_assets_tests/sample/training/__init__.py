"""Tests of `pipeline_assets.sample.training`."""
