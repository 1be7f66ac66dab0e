"""Asset checks: structure blocks, quality warns."""
