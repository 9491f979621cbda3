"""A Run becomes one self-contained HTML file. Reads runs, never training; imports no torch."""
