"""Tests of `pipeline_assets.adapters`."""
