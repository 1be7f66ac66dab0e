"""One order: plan, climb, checkpoints, publish; and the processes that share it."""
