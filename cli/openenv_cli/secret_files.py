"""Files that are likely to hold secrets, by their names."""

from __future__ import annotations

from fnmatch import fnmatchcase

_SECRET_FILES = (
    ".env", ".env.*", ".netrc", ".pypirc", ".git-credentials", "id_rsa", "id_ed25519", "id_ecdsa",
    "*.pem", "*.key", "*.p12", "credentials.json", "secrets.*",
)  # fmt: skip
_EXAMPLES = (".example", ".sample", ".template")


def looks_secret(name: str) -> bool:
    """Whether a file of this name most likely holds a secret."""
    return any(fnmatchcase(name, pattern) for pattern in _SECRET_FILES) and not name.endswith(_EXAMPLES)
