"""Asking for the hours whose rows may be made better."""
