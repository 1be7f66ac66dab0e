"""From the files of a feed to rows: sources, reading, mapping, the index of hours."""
