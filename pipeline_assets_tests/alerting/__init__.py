"""Tests of `pipeline_assets.alerting`."""
