"""One file a stage: its rungs and its declaration."""
