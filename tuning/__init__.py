"""What a live socket of another process may do: what can be set of it, and how that is done."""
