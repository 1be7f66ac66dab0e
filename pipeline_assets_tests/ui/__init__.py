"""Dagster's UI over our assets, as a person sees it in a browser."""
