"""The routes: HTTP, and the WebSocket of version 1."""
