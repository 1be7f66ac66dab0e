"""Two small CLIP checkpoints trained on the sample shop's drawings, and how they are made."""
