"""Where openenv-gym was installed from, so that a new environment can install it from there too."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from importlib.metadata import distribution
from pathlib import Path
from urllib.parse import urlparse
from urllib.request import url2pathname

DISTRIBUTION = "openenv-gym"


@dataclass(frozen=True)
class Origin:
    """The origin of the installation: a path, a git repository, a URL, or, if all are None, an index.

    Attributes:
        version: The installed version.
        path: A checkout's folder, or a wheel.
        git: A repository's URL.
        commit: The commit in that repository.
        url: The URL of an archive or a wheel.
    """

    version: str
    path: Path | None = None
    git: str | None = None
    commit: str | None = None
    url: str | None = None

    def requirement(self, extra: str) -> str:
        """The requirement for a ``pyproject.toml``."""
        return f"{DISTRIBUTION}[{extra}]>={self.version}"

    def uv_source(self, project: Path) -> str | None:
        """The entry for a project's ``[tool.uv.sources]``; None if it came from an index.

        A project inside the checkout gets a relative path, so that both can move.
        """
        if self.git is not None:
            return f"{{ git = {_toml(self.git)}, rev = {_toml(self.commit or 'HEAD')} }}"
        if self.url is not None:
            return f"{{ url = {_toml(self.url)} }}"
        if self.path is None:
            return None
        if self.path.is_file():
            return f"{{ path = {_toml(str(self.path))} }}"
        inside = project.is_relative_to(self.path)
        path = Path(os.path.relpath(self.path, project)).as_posix() if inside else str(self.path)
        return f"{{ path = {_toml(path)}, editable = true }}"


def installed_origin() -> Origin:
    """Read the origin from ``direct_url.json``, which the installer writes.

    See "Recording the Direct URL Origin of installed distributions" in the Python Packaging User Guide.
    """
    ours = distribution(DISTRIBUTION)
    record = json.loads(ours.read_text("direct_url.json") or "{}")
    url = str(record.get("url", ""))
    if record.get("vcs_info", {}).get("vcs") == "git":
        return Origin(ours.version, git=url, commit=record["vcs_info"].get("commit_id"))
    if url.startswith("file:"):
        return Origin(ours.version, path=Path(url2pathname(urlparse(url).path)))
    return Origin(ours.version, url=url or None)


def _toml(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
