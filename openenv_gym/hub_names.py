"""The names of Spaces on the Hugging Face Hub, and the addresses of the servers in them."""

from __future__ import annotations

import re

from openenv_gym.errors import ConfigurationError

_PART = r"[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,94}[A-Za-z0-9])?"
_REPO_ID = re.compile(rf"{_PART}/{_PART}")
_PAGE = re.compile(r"https?://[^/]+/spaces/([^/]+/[^/?#]+)(?:[/?#].*)?")
_LONGEST_LABEL = 63  # RFC 1035, section 2.3.4


def space_id(text: str) -> str:
    """A Space's id, from the id itself or from the address of its page.

    Args:
        text: ``my-org/my-env``, or ``https://huggingface.co/spaces/my-org/my-env``.

    Raises:
        ConfigurationError: It is neither.
    """
    page = _PAGE.fullmatch(text)
    repo_id = page[1] if page else text
    if not _REPO_ID.fullmatch(repo_id) or "--" in repo_id or ".." in repo_id or repo_id.endswith(".git"):
        raise ConfigurationError(
            f"{text!r} cannot be a Space: write OWNER/NAME, as in my-org/my-env, with letters, digits, '-', "
            "'_' and '.' (neither first nor last, no '--', no '..'), at most 96 in each part"
        )
    return repo_id


def space_host(repo_id: str) -> str:
    """The address of the server in a Space.

    The Hub writes ``my-org/my_env`` as ``https://my-org-my-env.hf.space``: in lower case, with a hyphen for
    each run of other characters.

    Args:
        repo_id: As `space_id` takes it.

    Raises:
        ConfigurationError: It is no Space's name, or so long that the Hub shortens it in its own way.
    """
    repo_id = space_id(repo_id)
    label = re.sub(r"[^a-z0-9]+", "-", repo_id.lower())
    if len(label) > _LONGEST_LABEL:
        raise ConfigurationError(
            f"The Hub shortens the address of {repo_id}, of more than {_LONGEST_LABEL} characters: copy "
            f'it from "Embed this Space" in the menu of https://huggingface.co/spaces/{repo_id}'
        )
    return f"https://{label}.hf.space"
