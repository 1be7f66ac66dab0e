"""Forgetting, retention, compaction, and the recovery of a lost state database."""
