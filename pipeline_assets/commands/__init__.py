"""What the commands do, as functions from resources to plain data; `cli` prints it."""
