"""The routes: HTTP, the WebSocket of both protocol versions, and the landing page."""
