"""Indexes over enriched items, and ranking."""
