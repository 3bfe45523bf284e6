"""One file for each change of the schema, numbered, named for what changed."""
