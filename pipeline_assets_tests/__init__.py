"""Tests; the tree mirrors `pipeline_assets`."""

from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
