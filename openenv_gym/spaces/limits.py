"""How large a schema may be. One that is larger is refused, before it costs time or memory."""

MOST_NODES = 20_000
DEEPEST = 64
MOST_LABELS = 2**16
MOST_ARRAY_BYTES = 2**30
