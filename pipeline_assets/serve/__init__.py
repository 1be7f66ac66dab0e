"""The HTTP service: search, items, quality and queues, for people and for programs. Read-only."""
