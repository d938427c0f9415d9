"""Where the ``openenv`` script starts."""
