"""Tests of `pipeline_assets.assets`."""
