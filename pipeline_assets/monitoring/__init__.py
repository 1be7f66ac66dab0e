"""Tables derived from tables: summaries, drift, volume, reliability, recovery."""
