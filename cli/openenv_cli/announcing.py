"""What ``openenv serve`` says once its server is up."""

from __future__ import annotations

import ipaddress
import socket
import sys
from urllib.parse import urlsplit

from openenv_cli.messages import say


def announce(name: str, host: str, base_url: str, *, has_page: bool) -> None:
    """The server's URL alone in a pipe; in a terminal also how to use it.

    Where it listens for other machines, also what they call it; in a pipe on standard error.

    Args:
        name: The environment's name.
        host: The address that the server listens on.
        base_url: The server's URL on this machine.
        has_page: Whether there is a page for people at ``/web``.
    """
    elsewhere = f"http://{_name_elsewhere(host)}:{urlsplit(base_url).port}"
    if not sys.stdout.isatty():
        print(base_url, flush=True)
        if not _is_loopback(host):
            print(f"On other machines that reach this one: {elsewhere}", file=sys.stderr, flush=True)
        return
    from rich.console import Console
    from rich.panel import Panel
    from rich.text import Text

    # A Text, as a name or an address in brackets would be taken for markup.
    said = Text(overflow="fold").append("On this machine, after import openenv_gym:\n")
    said.append(f'gym.make("openenv/{name}")\n', "bold")
    said.append(f'gym.make("openenv/remote", base_url="{base_url}")\n', "bold")
    if not _is_loopback(host):
        said.append("\nOn other machines that reach this one:\n")
        said.append(f'gym.make("openenv/remote", base_url="{elsewhere}")\n', "bold")
    said.append(f"\n{base_url}/docs   the API\n")
    if has_page:
        said.append(f"{base_url}/web    a page for people\n")
    said.append("Ctrl-C stops the server.")
    Console(highlight=False).print(Panel(said, title=Text(f"{name} is up at {base_url}"), expand=False))


def warn_without_key(host: str) -> None:
    """Warns of a server that asks for no key, where it listens for other machines."""
    if not _is_loopback(host):
        say(
            "Warning",
            "the server asks for no key, so whoever reaches this machine may use it. With the variable "
            "OPENENV_API_KEY set, here and where it is used, it asks for that",
        )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _name_elsewhere(host: str) -> str:
    """What others call this machine, where it listens in every network."""
    if host in {"0.0.0.0", "::"}:
        return socket.gethostname()
    return f"[{host}]" if ":" in host else host
