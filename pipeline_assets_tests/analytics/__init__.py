"""Tests of what analysts use."""
