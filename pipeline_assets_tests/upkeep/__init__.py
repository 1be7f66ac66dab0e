"""Tests of `pipeline_assets.upkeep`."""
