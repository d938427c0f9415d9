"""``openenv serve``: an environment's folder, or any Gymnasium environment, on a port."""

from __future__ import annotations

import json
import os
import re
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from openenv_server.settings import read_settings, variables
from openenv_server.workers import serve_app

from openenv_cli.announcing import announce, warn_without_key
from openenv_cli.messages import say
from openenv_gym.errors import ConfigurationError

if TYPE_CHECKING:
    from fastapi import FastAPI

# Below the options in the command's help; an option goes before its variable.
EPILOG = "\n".join(
    ["[bold]Environment variables[/bold]", *(f"{name}: {meaning}" for name, meaning in variables())]
)


def serve(
    path: Annotated[
        Path | None, typer.Argument(help="The environment's folder, with openenv.yaml. Default: this one.")
    ] = None,
    gym: Annotated[str | None, typer.Option(help="Serve this Gymnasium environment instead.")] = None,
    app: Annotated[
        str | None,
        typer.Option(
            metavar="MODULE:ATTRIBUTE", help="Serve this application, which create_app made, instead."
        ),
    ] = None,
    gym_kwarg: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE", help="A keyword for the Gymnasium environment.")
    ] = None,
    host: Annotated[
        str | None,
        typer.Option(help="[$HOST] Listen here; 0.0.0.0 is for other machines too. Default: 127.0.0.1"),
    ] = None,
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="[$PORT] 0 takes a free port. Default: 8000")
    ] = None,
    max_sessions: Annotated[
        int | None, typer.Option(min=1, help="[$MAX_CONCURRENT_ENVS] Sessions at a time. Default: 64")
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes, each with sessions of its own.")] = 1,
    reload: Annotated[
        bool,
        typer.Option(
            "--reload", help="Serve anew whenever a Python file of the folder, or openenv.yaml, changes."
        ),
    ] = False,
    fd: Annotated[int | None, typer.Option(hidden=True, help="An inherited socket to listen on.")] = None,
) -> None:
    """Serves an environment until Ctrl-C or SIGTERM; then lets requests under way finish.

    In a pipe, it prints one line, the server's URL, when the server is up.

    Examples:
        openenv serve

        openenv serve ./my_env --port 8080 --reload

        openenv serve --gym CartPole-v1 --max-sessions 16

        openenv serve --gym FrozenLake-v1 --gym-kwarg is_slippery=false

        openenv serve --gym CartPole-v1 --workers 4

        OPENENV_API_KEY=my-secret openenv serve --host 0.0.0.0

        openenv serve --app my_package.my_module:app
    """
    from openenv_server.manifest import read_manifest

    from openenv_gym.known import leave_note, remove_note

    settings = read_settings()
    folder: Path | None = None
    if sum(source is not None for source in (path, gym, app)) > 1:
        raise ConfigurationError("Serve one of a folder, --gym and --app, not several at once")
    if gym_kwarg and gym is None:
        raise ConfigurationError("--gym-kwarg goes with --gym")
    if app is not None:
        name = app.replace(":", ".").split(".")[0]
        make_app = partial(_from_import_path, app, max_sessions)
    elif gym is None:
        folder = (path or Path()).resolve()
        name = read_manifest(folder).name
        make_app = partial(_from_folder, folder, max_sessions)
    else:
        name = re.split("[/:]", gym)[-1]  # without the namespace, and without the module that registers it
        make_app = partial(_from_gymnasium, gym, gym_kwarg or [], max_sessions)
    address = host or settings.host
    note: list[Path] = []

    def started(base_url: str) -> None:
        if fd is None:  # else it is part of the program that started it, and not for others to find
            note.append(leave_note(name, base_url))
            if settings.openenv_api_key is None:
                warn_without_key(address)
        announce(name, address, base_url, has_page=settings.enable_web_interface)

    def stopped() -> None:
        for path in note:
            remove_note(path)

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
            "--reload watches a folder, and serves it from one process: openenv serve PATH --reload"
        )
    from openenv_server.reloading import serve_reloading

    serve_reloading(
        make_app,
        folder,
        host=address,
        port=at_port,
        settings=settings,
        on_started=started,
        on_reloaded=_say_reloaded,
        on_stopped=stopped,
    )


def _from_folder(folder: Path, max_sessions: int | None) -> FastAPI:
    from openenv_server.loading import load_folder

    _set_max_sessions(max_sessions)
    return load_folder(folder)


def _from_import_path(path: str, max_sessions: int | None) -> FastAPI:
    from openenv_server.loading import load_app

    _set_max_sessions(max_sessions)
    return load_app(path)


def _set_max_sessions(max_sessions: int | None) -> None:
    if max_sessions is not None:
        # The environment's own code calls create_app, which reads it there.
        os.environ["MAX_CONCURRENT_ENVS"] = str(max_sessions)


def _from_gymnasium(env_id: str, gym_kwargs: list[str], max_sessions: int | None) -> FastAPI:
    import gymnasium
    from openenv_server import create_app, gymnasium_factory

    keywords = dict(_keyword(pair) for pair in gym_kwargs)
    try:
        factory, models = gymnasium_factory(
            # The checker is for an environment's author; here it would look at every step.
            lambda: gymnasium.make(env_id, disable_env_checker=True, **keywords)
        )
    except (gymnasium.error.Error, TypeError, ImportError) as error:
        raise ConfigurationError(f"Gymnasium cannot make {env_id}: {error}") from error
    return create_app(
        factory, models.action, models.observation, env_name=env_id, max_concurrent_envs=max_sessions
    )


def _keyword(pair: str) -> tuple[str, Any]:
    """``is_slippery=false`` as a name and a value; the value is JSON where it is, else text."""
    name, equals, text = pair.partition("=")
    if not equals or not name.isidentifier():
        raise ConfigurationError(f"--gym-kwarg {pair}: write it as KEY=VALUE, as in is_slippery=false")
    try:
        return name, json.loads(text)
    except ValueError:
        lowered = text.lower()
        return name, {"true": True, "false": False, "none": None}.get(lowered, text)


def _say_reloaded(mistake: str | None) -> None:
    if mistake is None:
        print("The files changed; they are served now.", file=sys.stderr, flush=True)
    else:
        say("Error", f"{mistake}\nIt is tried again when a file changes.")
