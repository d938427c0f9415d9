"""Read YAML that others wrote, within limits."""

from __future__ import annotations

from typing import Any

import yaml

from openenv_gym.errors import ConfigurationError

# A manifest has some hundred bytes.
MOST_CHARACTERS = 2**16
# The most characters once aliases are replaced by what they stand for: a few lines can make billions.
MOST_EXPANDED = 2**20


def load_yaml(text: str, where: str) -> tuple[Any, yaml.Node | None]:
    """Read one document.

    Args:
        text: The text.
        where: What it is, for messages.

    Returns:
        content: Its value; None if it is empty.
        root: Its nodes, which have line numbers.

    Raises:
        ConfigurationError: It is not YAML, too large, or nested too deeply.
    """
    if len(text) > MOST_CHARACTERS:
        raise ConfigurationError(f"{where} is too large: it may have {MOST_CHARACTERS:,} characters.")
    try:
        loader = yaml.SafeLoader(text)
        root = loader.get_single_node()
        if root is None:
            return None, None
        if _expanded(root, {}) > MOST_EXPANDED:
            raise ConfigurationError(f"{where} is too large: its aliases stand for too much.")
        content = loader.construct_document(root)
        str(content)  # which fails if an integer has too many digits for an error message
        return content, root
    except RecursionError as error:
        raise ConfigurationError(f"{where} is nested too deeply.") from error
    except ConfigurationError:
        raise
    # PyYAML raises all kinds of errors if a value does not fit its tag, as in `!!bool maybe`.
    except (yaml.YAMLError, ValueError, OverflowError, LookupError, AttributeError, TypeError) as error:
        raise ConfigurationError(f"{where} is not YAML: {error}") from error


def _expanded(node: yaml.Node, known: dict[yaml.Node, int]) -> int:
    """The characters of a node once its aliases are replaced; too many if it contains itself."""
    if node not in known:
        known[node] = MOST_EXPANDED + 1  # until it is known
        children = node.value
        if isinstance(node, yaml.MappingNode):
            children = [part for pair in node.value for part in pair]
        known[node] = (
            len(node.value) + 1
            if isinstance(node, yaml.ScalarNode)
            else 1 + sum(_expanded(child, known) for child in children)
        )
    return known[node]
