"""What deploy/ says: that it is so, and that its commands run."""
