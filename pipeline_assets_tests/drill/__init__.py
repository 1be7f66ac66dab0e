"""Tests of `pipeline_assets.drill.forcing`."""
