"""An asset-based data platform for AI enrichment that always moves forward."""
