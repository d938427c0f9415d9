"""The ``openenv`` command; one file a command."""
