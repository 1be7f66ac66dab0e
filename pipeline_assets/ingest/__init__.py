"""From feed rows to the table items, and to the rows that are in no hour."""
