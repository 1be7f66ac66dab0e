"""Fallbacks forced on a sample of good rows, and judged."""
