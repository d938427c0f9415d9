"""The files that a Space needs: the card in its README, and a Dockerfile that the Hub can build."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import yaml
from openenv_server.yaml_text import load_yaml

from openenv_cli.docker.dockerfile import Stage, first_stages, read_dockerfile, read_stages
from openenv_cli.docker.environment import base_dockerfile, find_dockerfile
from openenv_cli.files import read_text
from openenv_gym.errors import ConfigurationError

if TYPE_CHECKING:
    from openenv_server.manifest import Manifest

_FRONT_MATTER = re.compile(r"\A---[ \t]*\n(?P<yaml>.*?)^---[ \t]*(?:\n|\Z)", re.DOTALL | re.MULTILINE)
_INTERFACE_ARGUMENT = re.compile(r"^(ARG ENABLE_WEB_INTERFACE=)\w+[ \t]*$", re.MULTILINE)
_TAG = "openenv"
_BASE_STAGE = "openenv-base"
_LOCAL_BASE = re.compile(r"openenv-base(:[\w.-]+)?")


def prepare_dockerfile(bundle: Path, *, base_image: str | None, has_interface: bool | None) -> Path:
    """Change the Dockerfile of a bundle.

    Args:
        bundle: A copy of an environment's folder.
        base_image: The new base image; None keeps the Dockerfile's.
        has_interface: Whether to enable the web interface; None keeps the Dockerfile's setting.

    Returns:
        The Dockerfile's path.

    Raises:
        ConfigurationError: The bundle has no Dockerfile, or the Dockerfile has no FROM.
    """
    path = find_dockerfile(bundle)
    text = read_text(path)
    if base_image is not None:
        text = with_base(text, base_image)
    if has_interface is not None:
        text = with_interface(text, has_interface)
    path.write_text(text, encoding="utf-8")
    return path


def prepare_space(
    bundle: Path, manifest: Manifest, *, base_image: str | None, has_interface: bool
) -> list[str]:
    """Turn a bundle into a Space: with a Dockerfile at its root that the Hub can build, and a complete card.

    Args:
        bundle: A copy of an environment's folder.
        manifest: Its ``openenv.yaml``.
        base_image: The new base image; None keeps the Dockerfile's. If that is the local ``openenv-base``,
            it becomes a stage of the Dockerfile.
        has_interface: Whether to enable the web interface.

    Returns:
        Remarks on changes that the author may not expect.

    Raises:
        ConfigurationError: The card or the Dockerfile cannot be changed.
    """
    notes = []
    dockerfile = prepare_dockerfile(bundle, base_image=base_image, has_interface=has_interface)
    text, was_local = with_base_inside(read_text(dockerfile), read_text(base_dockerfile()))
    if was_local:
        notes.append(
            "The Space's Dockerfile builds openenv-base itself because the Hub has no access to yours. Use "
            "--base-image to start from another image. Your own Dockerfile is unchanged."
        )
    # The Hub only builds the Dockerfile at the root.
    at_root = bundle / "Dockerfile"
    if at_root.is_file() and at_root != dockerfile:
        notes.append(
            "The folder has two Dockerfiles. The Space gets server/Dockerfile, as `openenv build` does, "
            "instead of the one at the root."
        )
    dockerfile.unlink()
    at_root.write_text(text, encoding="utf-8")

    readme = bundle / "README.md"
    readme.write_text(
        complete_card(
            read_text(readme) if readme.is_file() else "",
            title=manifest.name.replace("_", " ").replace("-", " ").title(),
            port=manifest.port,
            has_interface=has_interface,
        ),
        encoding="utf-8",
    )
    return notes


def complete_card(readme: str, *, title: str, port: int, has_interface: bool) -> str:
    """Add the settings to a README's front matter that the Hub needs to run an OpenEnv environment.

    Existing settings and comments are kept, except that ``sdk`` becomes docker and ``tags`` gets openenv.

    Args:
        readme: The README; "" if there is none.
        title: The title of the card.
        port: The server's port in its image.
        has_interface: Whether the Space's page opens the web interface.

    Raises:
        ConfigurationError: The front matter is not a YAML mapping, or too large.
    """
    found = _FRONT_MATTER.match(readme)
    text, body = (found["yaml"], readme[found.end() :]) if found else ("", readme)
    present = load_yaml(text, "The front matter of README.md")[0] or {}
    if not isinstance(present, dict):
        raise ConfigurationError(
            "The front matter of README.md is not a mapping.", advice="For example: title: My Env"
        )
    for key, value in _corrections(present).items():
        text = _with_value(text, key, value)
    wanted = {
        "title": title,
        "emoji": "🎮",
        "colorFrom": "blue",
        "colorTo": "green",
        "sdk": "docker",
        "app_port": port,
        **({"base_path": "/web"} if has_interface else {}),
        "tags": [_TAG],
    }
    missing = {key: value for key, value in wanted.items() if key not in present}
    if missing:
        text = f"{text.rstrip()}\n{_dumped(missing)}" if text.strip() else _dumped(missing)
    space = "" if found else "\n"
    return f"---\n{text.rstrip()}\n---\n{space}{body}".rstrip() + "\n"


def _corrections(present: dict[str, object]) -> dict[str, object]:
    corrections: dict[str, object] = {}
    if present.get("sdk", "docker") != "docker":
        corrections["sdk"] = "docker"
    if "tags" in present:
        tags = present["tags"]
        listed = tags if isinstance(tags, list) else [tags] if tags else []
        if _TAG not in listed:
            corrections["tags"] = [*listed, _TAG]
    return corrections


def _with_value(text: str, key: str, value: object) -> str:
    """Replace the value of one key in a YAML text, and keep the rest unchanged."""
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    assert isinstance(root, yaml.MappingNode)  # the caller has checked it
    node = next(node for name, node in root.value if name.value == key)
    # A list in block style extends to the next key.
    old = text[node.start_mark.index : node.end_mark.index]
    after = old[len(old.rstrip()) :]
    new = yaml.safe_dump(value, default_flow_style=True, allow_unicode=True).removesuffix("...\n").rstrip()
    return f"{text[: node.start_mark.index].rstrip()} {new}{after}{text[node.end_mark.index :]}"


def _dumped(values: dict[str, object]) -> str:
    return yaml.safe_dump(values, sort_keys=False, allow_unicode=True)


def with_base(text: str, image: str) -> str:
    """Replace the base image of a Dockerfile's last stage, and of all stages with the same base image.

    Raises:
        ConfigurationError: The Dockerfile has no FROM.
    """
    stages = read_stages(read_dockerfile(text))
    if not stages:
        raise ConfigurationError("The Dockerfile has no FROM that --base-image could replace.")
    by_name = {stage.name: stage for stage in stages if stage.name}
    last = stages[-1]
    while last.image.lower() in by_name:
        last = by_name.pop(last.image.lower())
    return _starting_from(image, text, [stage for stage in stages if stage.written == last.written])


def with_base_inside(text: str, base: str) -> tuple[str, bool]:
    """Add ``openenv-base`` to a Dockerfile as a stage, if it starts from that image.

    Args:
        text: The Dockerfile.
        base: The Dockerfile of ``openenv-base``, which has one stage.

    Returns:
        The Dockerfile, and whether it was changed.
    """
    stages = read_stages(read_dockerfile(text))
    local = [stage for stage in first_stages(stages) if _LOCAL_BASE.fullmatch(stage.image)]
    if not local:
        return text, False
    (its_own,) = read_stages(read_dockerfile(base))
    base = _starting_from(f"{its_own.written} AS {_BASE_STAGE}", base, [its_own])
    lines = _starting_from(_BASE_STAGE, text, local).splitlines(keepends=True)
    # After the arguments that all FROMs share.
    first = stages[0].start.line - 1
    return "".join([*lines[:first], f"{base.rstrip()}\n\n", *lines[first:]]), True


def with_interface(text: str, is_on: bool) -> str:
    """Enable or disable the web interface in a Dockerfile, at its end because the last ENV wins.

    An argument of that name at the beginning, which decides what is installed, gets the same default.
    """
    value = str(is_on).lower()
    text = _INTERFACE_ARGUMENT.sub(rf"\g<1>{value}", text)
    return f"{text.rstrip()}\n\nENV ENABLE_WEB_INTERFACE={value}\n"


def _starting_from(image: str, text: str, stages: list[Stage]) -> str:
    """Replace the base image of some stages. All lines keep their position."""
    lines = text.splitlines(keepends=True)
    for stage in stages:
        written = re.compile(rf"(?<!\S){re.escape(stage.written)}(?!\S)")
        for number in range(stage.start.line - 1, stage.start.last_line):
            is_comment = lines[number].lstrip().startswith("#")
            changed = lines[number] if is_comment else written.sub(lambda _: image, lines[number], count=1)
            if changed != lines[number]:
                lines[number] = changed
                break
    return "".join(lines)
