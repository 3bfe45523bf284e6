"""What the kernel says, and how its words are spelled. Imports no other room."""
