"""Tests of `pipeline_assets.documents`."""
