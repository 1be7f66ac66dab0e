"""Tests of `pipeline_assets.core`."""
