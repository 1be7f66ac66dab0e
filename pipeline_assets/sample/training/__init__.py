"""How the shipped checkpoints are made."""
