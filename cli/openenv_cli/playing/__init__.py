"""What ``openenv play`` is made of: lines in, questions made from a schema, and observations shown."""
