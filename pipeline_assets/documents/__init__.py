"""From bytes to text and pictures: parsers in processes of their own, encodings, languages."""
