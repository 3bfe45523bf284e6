"""Measurements: what collecting costs, how fast each stage is, and how others fare beside it."""
