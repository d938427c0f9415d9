"""Pages that come from elsewhere: files at the top of the repository, and the help of the commands."""

from __future__ import annotations

import inspect
import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from mkdocs.utils import get_relative_url
from openenv_cli.commands import PANELS, Command, load

ROOT = Path(__file__).parents[1]
# Files at the top of the repository, and the pages that they are.
TOP = {"CHANGELOG.md": "changelog.md", "CONTRIBUTING.md": "contributing.md", "SECURITY.md": "security.md"}
# A link of Markdown to a file: `](` and its path.
LINK = re.compile(r"(?<=\]\()(?!https?:|mailto:|#)([^)#\s]+)")
# A row of a table whose code has a bar. GitHub wants it escaped, and Python-Markdown shows the backslash.
CODE_IN_TABLE = re.compile(r"^\|.*`.*\\\|.*`.*\|$", re.MULTILINE)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are not files of this folder."""
    for name, page in TOP.items():
        text = LINK.sub(_from_the_top, (ROOT / name).read_text())
        files.append(File.generated(config, page, content=text))
    files.append(File.generated(config, "commands.md", content="\n".join(_commands())))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Lead links out of this folder to the page of that file, or else to the repository; fix tables."""
    folder = posixpath.dirname(page.file.src_uri)

    def target(found: re.Match[str]) -> str:
        path = posixpath.normpath(posixpath.join("docs", folder, found[1]))
        if path.startswith("docs/") or found[1] in files.src_uris:
            return found[1]
        if path in TOP:
            return posixpath.relpath(TOP[path], folder or ".")
        if not (ROOT / path).exists():
            return found[1]  # which fails, as any link to a missing file does
        return f"{config.repo_url}/blob/main/{path}"

    return CODE_IN_TABLE.sub(lambda found: found[0].replace("\\|", "|"), LINK.sub(target, markdown))


def on_post_page(output: str, page: Page, config: MkDocsConfig) -> str:
    """Load what draws diagrams, 2.5 MB, where a page has some: @mermaid-js/tiny 11.17.2, as npm has it."""
    if '<pre class="mermaid">' not in output:
        return output
    script = get_relative_url("assets/mermaid.tiny.js", page.url)
    return output.replace("</head>", f'<script src="{script}"></script></head>', 1)


def _from_the_top(found: re.Match[str]) -> str:
    path = found[1]
    return path.removeprefix("docs/") if path.startswith("docs/") else f"../{path}"


def _commands() -> Iterator[str]:
    yield "# Commands\n"
    yield "`openenv` and `openenv-gym` are the same command. If the published `openenv` package is installed,"
    yield "`openenv` is that package's, and `openenv-gym` is still this one. `openenv COMMAND --help` shows"
    yield "what is below.\n"
    yield "| exit code | |\n|---|---|\n| 0 | success |\n| 1 | failure |"
    yield "| 2 | wrong usage, or not an environment |\n| 3 | a bug in openenv |"
    yield "| 4 | server unreachable |\n| 5 | refused by the server |\n| 130 | Ctrl-C |\n"
    for panel, commands in PANELS.items():
        yield f"## {panel}\n"
        for command in commands:
            yield from _command(command)


def _command(command: Command) -> Iterator[str]:
    function, _ = load(command)
    app = typer.Typer(add_completion=False)
    app.command(command.name)(function)
    parameters = [p for p in typer.main.get_command(app).params if p.name != "help" and not _is_hidden(p)]
    arguments = " ".join(_metavar(p) for p in parameters if p.param_type_name == "argument")
    text, _, examples = (inspect.getdoc(function) or "").partition("Examples:\n")
    yield f"### openenv {command.name}\n"
    yield f"    openenv {command.name} [OPTIONS] {arguments}".rstrip() + "\n"
    yield f"{text.strip()}\n"
    if examples:
        yield "```bash"
        yield from (line.removeprefix("    ") for line in examples.splitlines() if line.strip())
        yield "```\n"
    if parameters:
        yield "| option | what it does |\n|---|---|"
        yield from map(_row, parameters)
        yield ""


def _is_hidden(parameter: Any) -> bool:
    return bool(getattr(parameter, "hidden", False))


def _metavar(parameter: Any) -> str:
    return f"[{parameter.metavar or parameter.name.upper()}]".replace("[[", "[").replace("]]", "]")


def _row(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        name = f"`{(parameter.metavar or parameter.name.upper()).strip('[]')}`"
    else:
        name = ", ".join(f"`{option}`" for option in [*parameter.opts, *parameter.secondary_opts])
    text = re.sub(r"\s+", " ", parameter.help or "").replace("|", "\\|").replace("[", "\\[")
    default = parameter.default
    if isinstance(default, str | int | float) and not isinstance(default, bool) and default != "":
        text += f" Default: `{getattr(default, 'value', default)}`."
    return f"| {name} | {text} |"
