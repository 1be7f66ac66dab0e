"""Tests of `pipeline_assets.accelerator`."""
