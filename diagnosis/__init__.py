"""What limited a connection: from the differences of its variables to a verdict, in plain words."""
