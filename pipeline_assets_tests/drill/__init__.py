"""Tests of `pipeline_assets.drill.drill`."""
