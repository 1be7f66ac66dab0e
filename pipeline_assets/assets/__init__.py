"""Thin Dagster assets over the engine."""
