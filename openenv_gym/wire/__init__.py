"""The protocol: pure functions from messages to text and back. No sockets in here."""
