"""Version 2 of the protocol: connections that carry many sessions."""
