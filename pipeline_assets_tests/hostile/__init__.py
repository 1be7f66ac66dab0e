"""Files as strangers may write them, made from a seed, and what must come of each."""
