"""Tests of the shipped checkpoints and of how they are made."""
