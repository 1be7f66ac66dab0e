"""What `make bench` measures and prints: figures for people, not timed tests."""
