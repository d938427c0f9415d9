"""The server of Chat environment."""
