"""Tests; the tree mirrors `pipeline_assets`."""
