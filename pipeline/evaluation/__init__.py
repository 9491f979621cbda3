"""Evaluation: one pass of predictions in pixels of the original pictures, and what can be read off it."""
