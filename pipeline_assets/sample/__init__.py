"""The sample shop: a catalogue drawn from a seed, and the HTTP server that sells it."""
