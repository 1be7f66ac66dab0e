"""One seam per outside thing, each with an honest fake beside it."""
