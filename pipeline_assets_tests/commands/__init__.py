"""Tests of `pipeline_assets.commands`."""
