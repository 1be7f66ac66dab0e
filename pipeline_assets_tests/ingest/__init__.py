"""Tests of `pipeline_assets.ingest`."""
