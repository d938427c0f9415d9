"""Version 2 of the protocol: a lane is a WebSocket with many sessions, served by a thread of its own."""
