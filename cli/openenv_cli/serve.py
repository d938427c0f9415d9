"""``openenv serve``: serve an environment's folder, a Gymnasium environment, or an application."""

from __future__ import annotations

import io
import os
import re
import socket
import sys
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TextIO
from urllib.parse import urlsplit

import typer
from openenv_server.operations.logs import configure_logs, listening_line
from openenv_server.security.hosts import is_loopback
from openenv_server.settings import MAX_SESSIONS_OPTION, read_settings, variables
from openenv_server.workers import serve_app

from openenv_cli.gymnasium_options import GymKwargs, Wraps, gymnasium_maker, keywords_of
from openenv_cli.output import note, say
from openenv_gym.errors import ConfigurationError, MissingExtraError

if TYPE_CHECKING:
    from fastapi import FastAPI
    from openenv_server.gymnasium_maker import GymnasiumMaker

# Help below the options.
EPILOG = "\n".join(
    ["[bold]Environment variables[/bold]", *(f"{name}: {meaning}" for name, meaning in variables())]
)


class ServerChoice(StrEnum):
    """Which server serves an application."""

    OURS = "ours"
    PUBLISHED = "published"


def serve(
    path: Annotated[
        Path | None, typer.Argument(help="A folder with openenv.yaml. Default: the current folder.")
    ] = None,
    gym: Annotated[str | None, typer.Option(help="Serve this Gymnasium environment instead.")] = None,
    envpool: Annotated[
        str | None, typer.Option(help="Serve this environment of EnvPool, which steps many in one call.")
    ] = None,
    app: Annotated[
        str | None,
        typer.Option(metavar="MODULE:ATTRIBUTE", help="Serve this application from create_app instead."),
    ] = None,
    gym_kwarg: GymKwargs = None,
    wrap: Wraps = None,
    vectorized: Annotated[
        bool,
        typer.Option(
            "--vectorized",
            help="Step all sessions of a client in one call, by the vector environment that --gym registers.",
        ),
    ] = False,
    host: Annotated[
        str | None,
        typer.Option(help="[$HOST] Address to listen on; 0.0.0.0 for all. Default: 127.0.0.1"),
    ] = None,
    port: Annotated[
        int | None,
        typer.Option("--port", "-p", min=0, max=65535, help="[$PORT] 0 picks a free port. Default: 8000"),
    ] = None,
    max_sessions: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Maximum sessions. Default: those of the application, or [$MAX_CONCURRENT_ENVS], or 64",
        ),
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Number of processes, each with its sessions.")] = 1,
    reload: Annotated[
        bool,
        typer.Option("--reload", help="Reload when a Python file in the folder or openenv.yaml changes."),
    ] = False,
    interface: Annotated[
        bool | None,
        typer.Option(help="[$ENABLE_WEB_INTERFACE] The playground at /web. Default: if Gradio is there"),
    ] = None,
    server: Annotated[
        ServerChoice,
        typer.Option(help="The server of an environment that imports the published openenv package."),
    ] = ServerChoice.OURS,
    fd: Annotated[int | None, typer.Option(hidden=True, help="An inherited socket to listen on.")] = None,
) -> None:
    """Serve an environment until Ctrl-C or SIGTERM, then finish pending requests and exit.

    In a pipe, standard output gets one line when the server is ready, its URL, and standard error gets the
    rest, such as what the environment prints. With LOG_FORMAT=json, each line of both is a JSON object.

    Examples:
        openenv serve

        openenv serve ./my_env --port 8080 --reload

        openenv serve --gym CartPole-v1 --max-sessions 16

        openenv serve --gym FrozenLake-v1 --gym-kwarg is_slippery=false

        openenv serve --gym ALE/Pong-v5 --gym-kwarg frameskip=1
            --wrap gymnasium.wrappers:AtariPreprocessing
            --wrap-kwarg screen_size=84

        openenv serve --gym CartPole-v1 --workers 4

        openenv serve --gym CartPole-v1 --vectorized --max-sessions 4096

        openenv serve --envpool Pong-v5 --max-sessions 256

        OPENENV_API_KEY=my-secret openenv serve --host 0.0.0.0

        openenv serve --app my_package.my_module:app

        openenv-gym serve ./published_env --server published
    """
    from openenv_server.manifest import read_manifest

    from openenv_gym.naming.known import leave_note, remove_note

    if interface is not None:
        _set_interface(interface)
    settings = read_settings()
    output = _reserve_stdout()
    configure_logs(settings.log_format, settings.log_level)
    folder: Path | None = None
    if sum(source is not None for source in (path, gym, envpool, app)) > 1:
        raise ConfigurationError("Pass only one of a folder, --gym, --envpool and --app.")
    if server is ServerChoice.PUBLISHED and (gym or envpool) is not None:
        raise ConfigurationError("--server published serves a folder or --app, not --gym or --envpool.")
    for_gym = {
        "--gym-kwarg": gym_kwarg if envpool is None else None,
        "--wrap": wrap,
        "--vectorized": vectorized,
    }
    if gym is None and any(for_gym.values()):
        option = next(name for name, value in for_gym.items() if value)
        raise ConfigurationError(f"{option} requires --gym.")
    if app is not None:
        name = app.replace(":", ".").split(".")[0]
        make_app = partial(_from_import_path, app, max_sessions, server is ServerChoice.PUBLISHED)
    elif envpool is not None:
        name = envpool
        make_app = partial(_from_envpool, envpool, gym_kwarg, max_sessions)
    elif gym is None:
        folder = (path or Path()).resolve()
        name = read_manifest(folder).name
        make_app = partial(_from_folder, folder, max_sessions, server is ServerChoice.PUBLISHED)
    else:
        name = re.split("[/:]", gym)[-1]  # without the namespace and the module that registers it
        make_app = partial(_from_gymnasium, gymnasium_maker(gym, gym_kwarg, wrap), max_sessions, vectorized)
    address = host or settings.host
    notes: list[Path] = []

    def started(base_url: str) -> None:
        if fd is None:  # with a socket, the server belongs to the program that started it
            try:
                notes.append(leave_note(name, base_url, folder))
            except ConfigurationError as error:
                say("Warning", str(error))
            has_key = settings.openenv_api_key or settings.openenv_api_key_file
            if not has_key and not _is_for_this_machine(address):
                say(
                    "Warning",
                    "the server needs no key, so anyone who can reach this machine can use it. Set "
                    "OPENENV_API_KEY, here and in its clients, to require one.",
                )
        if settings.log_format == "json":
            print(listening_line(settings.log_format, base_url), file=output, flush=True)
        else:
            _announce(output, name, address, base_url, has_page=settings.enable_web_interface)

    def stopped() -> None:
        for path in notes:
            remove_note(path)

    if output.isatty():
        note(f"Starting {name}…")  # importing an environment may take many seconds
    at_port = settings.port if port is None else port
    if not reload:
        serve_app(
            make_app,
            workers=workers,
            host=address,
            port=at_port,
            fd=fd,
            settings=settings,
            on_started=started,
            on_stopped=stopped,
        )
        return
    if folder is None or workers > 1 or fd is not None:
        raise ConfigurationError(
            "--reload requires a folder and a single process.", advice="Run: openenv serve PATH --reload"
        )
    from openenv_server.reloading import serve_reloading

    serve_reloading(
        make_app,
        folder,
        host=address,
        port=at_port,
        settings=settings,
        on_started=started,
        on_reloaded=_report_reload,
        on_stopped=stopped,
    )


def _from_folder(folder: Path, max_sessions: int | None, on_published_server: bool) -> FastAPI:
    from openenv_server.loading import load_folder

    _set_max_sessions(max_sessions)
    return load_folder(folder, on_published_server=on_published_server)


def _from_import_path(path: str, max_sessions: int | None, on_published_server: bool) -> FastAPI:
    from openenv_server.loading import load_app

    _set_max_sessions(max_sessions)
    return load_app(path, on_published_server=on_published_server)


def _set_interface(is_on: bool) -> None:
    """Turn the playground on or off.

    Raises:
        MissingExtraError: It is turned on, and Gradio is not installed.
    """
    from openenv_server.playground.mount import has_gradio

    if is_on and not has_gradio():
        raise MissingExtraError("openenv serve --interface", "web")
    # The environment's code calls create_app, which reads this variable, in each process.
    os.environ["ENABLE_WEB_INTERFACE"] = str(is_on).lower()


def _set_max_sessions(max_sessions: int | None) -> None:
    if max_sessions is not None:
        # The environment's code calls create_app, which reads this variable.
        os.environ[MAX_SESSIONS_OPTION] = str(max_sessions)


def _from_gymnasium(maker: GymnasiumMaker, max_sessions: int | None, vectorized: bool) -> FastAPI:
    from openenv_server import create_app, gymnasium_factory, vector_factory

    factory, models = vector_factory(maker.vector) if vectorized else gymnasium_factory(maker)
    return create_app(
        factory, models.action, models.observation, env_name=maker.env_id, max_concurrent_envs=max_sessions
    )


def _from_envpool(env_id: str, keywords: list[str] | None, max_sessions: int | None) -> FastAPI:
    from openenv_server import create_app, vector_factory
    from openenv_server.envpool_environments import EnvPoolMaker

    factory, models = vector_factory(EnvPoolMaker(env_id, keywords_of(keywords)))
    return create_app(
        factory, models.action, models.observation, env_name=env_id, max_concurrent_envs=max_sessions
    )


def _report_reload(failure: str | None) -> None:
    if failure is None:
        print("Reloaded after a change.", file=sys.stderr, flush=True)
    else:
        say("Error", f"{failure}\nReloading again when a file changes.")


def _reserve_stdout() -> TextIO:
    """Keep standard output for the URL: what is printed to it from now on, in any process, goes to stderr.

    Returns:
        The real standard output. A terminal stays as it is.
    """
    if sys.stdout.isatty():
        return sys.stdout
    sys.stdout.flush()
    real = os.fdopen(os.dup(1), "w", encoding=sys.stdout.encoding)
    os.dup2(2, 1)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)
    return real


def _announce(output: TextIO, name: str, host: str, base_url: str, *, has_page: bool) -> None:
    """Print the server's URL; in a terminal also how to use it.

    If the server listens for other machines, print the URL for those too; in a pipe to standard error.

    Args:
        output: The real standard output.
        name: The environment's name.
        host: The address that the server listens on.
        base_url: The server's URL on this machine.
        has_page: Whether the web page at ``/web`` is enabled.
    """
    remote_url = f"http://{_external_name(host)}:{urlsplit(base_url).port}"
    if not output.isatty():
        print(base_url, file=output, flush=True)
        if not _is_for_this_machine(host):
            print(f"From other machines: {remote_url}", file=sys.stderr, flush=True)
        return
    from rich.panel import Panel
    from rich.text import Text

    from openenv_cli.console import Console

    # A Text, because a name or an address in brackets would be taken for markup.
    lines = Text(overflow="fold").append("On this machine, after import openenv_gym:\n")
    lines.append(f'gym.make("openenv/{name}")\n', "bold")
    lines.append(f'gym.make("openenv/remote", base_url="{base_url}")\n', "bold")
    if not _is_for_this_machine(host):
        lines.append("\nFrom other machines:\n")
        lines.append(f'gym.make("openenv/remote", base_url="{remote_url}")\n', "bold")
    lines.append(f"\n{base_url}/docs   the API\n")
    if has_page:
        lines.append(f"{base_url}/web    the web page\n")
    lines.append("Ctrl-C stops the server.")
    Console(highlight=False).print(Panel(lines, title=Text(f"{name} is ready at {base_url}"), expand=False))


def _is_for_this_machine(host: str) -> bool:
    return host == "localhost" or is_loopback(host)


def _external_name(host: str) -> str:
    """The name of this machine in URLs for others; the host name if it listens on all addresses."""
    if host in {"0.0.0.0", "::"}:
        return socket.gethostname()
    return f"[{host}]" if ":" in host else host
