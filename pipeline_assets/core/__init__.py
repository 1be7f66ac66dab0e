"""The model of partial success; standard library and pyarrow only."""
