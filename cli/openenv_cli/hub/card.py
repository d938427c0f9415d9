"""The front matter of a README: what the Hub takes for the settings of a Space."""

from __future__ import annotations

import re

import yaml

from openenv_gym.errors import ConfigurationError

_FRONT_MATTER = re.compile(r"\A---[ \t]*\n(?P<yaml>.*?)^---[ \t]*(?:\n|\Z)", re.DOTALL | re.MULTILINE)
_TAG = "openenv"


def complete_card(readme: str, *, title: str, port: int, has_interface: bool) -> str:
    """A README with all that the Hub needs to run it as an OpenEnv environment.

    What is there already is kept, with its comments, but for ``sdk``, which has to be docker, and ``tags``,
    among which has to be openenv.

    Args:
        readme: The README as it is; "" where there is none.
        title: The title of the card.
        port: Where the server listens in its image.
        has_interface: Whether the Space opens the web interface.

    Raises:
        ConfigurationError: Its front matter is not a table of settings.
    """
    found = _FRONT_MATTER.match(readme)
    text, body = (found["yaml"], readme[found.end() :]) if found else ("", readme)
    try:
        present = yaml.safe_load(text) or {}
    except yaml.YAMLError as error:
        raise ConfigurationError(f"The front matter of README.md is not YAML: {error}") from error
    if not isinstance(present, dict):
        raise ConfigurationError(
            "The front matter of README.md is not a table of settings, such as title: My Env"
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
    """The YAML with another value for one key, and the rest of the text as it is."""
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    assert isinstance(root, yaml.MappingNode)  # its caller has read it
    node = next(node for name, node in root.value if name.value == key)
    # A list in block style ends where the next key begins.
    was = text[node.start_mark.index : node.end_mark.index]
    after = was[len(was.rstrip()) :]
    new = yaml.safe_dump(value, default_flow_style=True, allow_unicode=True).removesuffix("...\n").rstrip()
    return f"{text[: node.start_mark.index].rstrip()} {new}{after}{text[node.end_mark.index :]}"


def _dumped(values: dict[str, object]) -> str:
    return yaml.safe_dump(values, sort_keys=False, allow_unicode=True)
