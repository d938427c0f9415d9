"""``openenv init``: create an environment's folder from a template."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated

import typer
from openenv_scaffolds import WORKFLOW, Names, Template, nearest_name, render_environment, render_workflow

from openenv_cli.files import find_repository
from openenv_cli.gymnasium_options import GymKwargs, Wraps, gymnasium_maker
from openenv_cli.gymnasium_template import describe
from openenv_cli.origin import DISTRIBUTION, installed_origin
from openenv_cli.output import note, status
from openenv_gym.errors import ActionRefusedError, ConfigurationError, OpenEnvError
from openenv_gym.providers.server_command import find_uv


def init(
    name: Annotated[str, typer.Argument(help="Name of the environment and its package, such as my_env.")],
    output_dir: Annotated[
        Path, typer.Option("--output-dir", "-o", help="The parent folder. Default: the current folder.")
    ] = Path(),
    template: Annotated[
        Template | None,
        typer.Option(help="The template. Default: echo, or gym with --gym."),
    ] = None,
    gym: Annotated[str | None, typer.Option(metavar="ID", help="The Gymnasium environment to serve.")] = None,
    gym_kwarg: GymKwargs = None,
    wrap: Wraps = None,
) -> None:
    """Create a new environment from a template: a folder that is ready to serve, test, build and push.

    Templates: echo echoes its input; array has NumPy observations; chat is a conversation of role and
    content messages; gym serves a Gymnasium environment.

    Examples:
        openenv init my_env

        openenv init my_env --output-dir envs --template chat

        openenv init lander_env --gym LunarLander-v3

        openenv init pong_env --gym ALE/Pong-v5 --gym-kwarg frameskip=1
            --wrap gymnasium.wrappers:AtariPreprocessing
            --wrap-kwarg screen_size=84
    """
    where, last = os.path.split(name.rstrip(os.sep))
    if where:
        raise ConfigurationError(
            f"{name} is a path, not a name.",
            advice=f"Run: openenv init {nearest_name(last)} "
            f"--output-dir {shlex.quote(str(output_dir / where))}",
        )
    names = Names.of(name)
    if gym is not None and template not in (None, "gym"):
        raise ConfigurationError(f"--gym requires the template gym, not {template}.")
    if template == "gym" and gym is None:
        raise ConfigurationError(
            "The template gym needs an environment.", advice="For example: --template gym --gym CartPole-v1"
        )
    if (gym_kwarg or wrap) and gym is None:
        raise ConfigurationError(f"{'--gym-kwarg' if gym_kwarg else '--wrap'} requires --gym.")
    served = None if gym is None else describe(gymnasium_maker(gym, gym_kwarg, wrap))
    origin = installed_origin()
    folder = output_dir.resolve() / names.package
    with _atomic_folder(folder) as draft:
        render_environment(
            draft,
            template or ("gym" if gym else "echo"),
            names,
            requirements=[origin.requirement("server"), *(served.requirements if served else [])],
            distribution=DISTRIBUTION,
            source=origin.uv_source(folder),
            details=served.details if served else None,
        )
        if gym is not None:
            _try(gym, draft)
        repository = find_repository(folder)
        if repository is None:
            # It will become its own repository.
            workflow = draft / WORKFLOW
            workflow.parent.mkdir(parents=True)
            workflow.write_text(render_workflow({names.hyphenated: "server/Dockerfile"}), encoding="utf-8")
        is_locked = _lock(draft)
    if origin.path is not None and repository is None:
        note(
            f"pyproject.toml installs {DISTRIBUTION} from {origin.path}, as this installation does. Before "
            "others use the folder, change [tool.uv.sources] to a location that they can reach."
        )
    _print_result(folder, names, repository, is_locked)


@contextmanager
def _atomic_folder(folder: Path) -> Iterator[Path]:
    """A draft folder that is renamed to `folder` on success and removed on failure."""
    _refuse_existing(folder)
    made = [parent for parent in folder.parents if not os.path.lexists(parent)]
    try:
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            # A sibling, so that relative paths stay valid when it is renamed.
            draft = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
        except OSError as error:
            raise ConfigurationError(
                f"Cannot create a folder in {folder.parent}: {error.strerror}.",
                advice="Choose another --output-dir.",
            ) from error
        try:
            draft.chmod(0o777 & ~_umask())
            yield draft
            _refuse_existing(folder)
            draft.rename(folder)
        except BaseException:
            shutil.rmtree(draft, ignore_errors=True)
            raise
    except BaseException:
        for parent in made:
            with suppress(OSError):  # missing, or no longer empty
                parent.rmdir()
        raise


def _refuse_existing(folder: Path) -> None:
    if not os.path.lexists(folder):
        return
    free = next(
        f"{folder.name}{n}" for n in range(2, 10**6) if not folder.with_name(f"{folder.name}{n}").exists()
    )
    raise ConfigurationError(
        f"{folder} already exists.",
        advice=f"Run: openenv init {free}, or remove the folder, or choose another --output-dir.",
    )


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _try(gym_id: str, folder: Path) -> None:
    """Serve a folder with this Python, and take a step there.

    Raises:
        ConfigurationError: It does not work.
    """
    from openenv_gym import RemoteEnv

    with status("Trying the environment…"):
        try:
            with (
                RemoteEnv(path=folder) as env,
                suppress(ActionRefusedError),
            ):  # the space may be the larger one
                env.reset(seed=0)
                env.step(env.action_space.sample())
        except OpenEnvError as error:
            raise ConfigurationError(f"The environment made of {gym_id} does not work: {error}") from error


def _lock(folder: Path) -> bool:
    """Write uv.lock and return True; without uv, print how to do it later."""
    uv = find_uv()
    if uv is None:
        note("uv is not installed, so uv.lock is missing. Run `pip install uv`, then `uv lock`.")
        return False
    with status("Locking the dependencies…"):
        done = subprocess.run(
            [uv, "lock", "--quiet", "--directory", str(folder)], capture_output=True, text=True
        )
    if done.returncode != 0:
        note(f"uv could not lock the dependencies. Run `uv lock` later. Its output:\n{done.stderr}")
        return False
    return True


def _print_result(folder: Path, names: Names, repository: Path | None, is_locked: bool) -> None:
    if not sys.stdout.isatty():
        print(folder)
        return
    from rich.markup import escape
    from rich.text import Text
    from rich.tree import Tree

    from openenv_cli.console import Console

    tree = Tree(Text(str(folder), "bold"))
    for path in sorted(folder.iterdir(), key=lambda path: (path.is_dir(), path.name)):
        branch = tree.add(f"{path.name}/" if path.is_dir() else path.name)
        if path.is_dir():
            for child in sorted(path.iterdir()):
                branch.add(child.name)
    console = Console()
    console.print(tree)
    console.print(
        f"\nNext: edit [bold]models.py[/bold] and [bold]server/{names.environment_module}.py[/bold] "
        "(and README.md and tests/ to match), then run\n\n"
        f"  cd {escape(os.path.relpath(folder))}\n"
        f"  {'uv run ' if is_locked else ''}openenv serve",
        markup=True,
    )
    if repository is not None and (repository / WORKFLOW).is_file():
        dockerfile = folder.relative_to(repository) / "server" / "Dockerfile"
        console.print(
            f"\nTo build its image on every push, add this to the matrix in {WORKFLOW}:\n\n"
            f"          - name: {names.hyphenated}\n            dockerfile: {dockerfile.as_posix()}",
            highlight=False,
        )
