"""The server of Echo environment."""
