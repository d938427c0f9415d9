"""The server of Grid world environment."""
