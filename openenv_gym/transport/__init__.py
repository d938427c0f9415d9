"""The way to a server: endpoints, HTTP and the WebSocket, with deadlines. Knows no spaces."""
