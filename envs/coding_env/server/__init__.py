"""The server of Coding environment."""
