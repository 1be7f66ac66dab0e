"""Servers that misbehave on real sockets, and what becomes of a resource that is asked of them."""
