"""What is said, to whom, and once."""
