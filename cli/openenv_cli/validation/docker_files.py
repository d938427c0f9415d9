"""Checks of the Dockerfile, read and not built."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from pathlib import PurePosixPath

from openenv_cli.docker.dockerfile import Instruction, final_stage, read_dockerfile
from openenv_cli.docker.dockerignore import ignore_rules, is_ignored
from openenv_cli.left_out import LeftOut
from openenv_cli.secret_files import looks_secret
from openenv_cli.texts import read_text
from openenv_cli.validation.check import Check, Finding, failed, passed, warning
from openenv_cli.validation.folder import Folder

_SECRET_NAME = re.compile(r"TOKEN|SECRET|PASSW(OR)?D|API_?KEY|PRIVATE_?KEY|CREDENTIAL", re.IGNORECASE)
_PAIR = re.compile(r"""(\w+)=("[^"]*"|'[^']*'|\S*)""")
_PORT = re.compile(r"--port[\s=\",']+(\d+)")


def _instructions(folder: Folder) -> list[Instruction]:
    assert folder.dockerfile is not None  # docker.file has passed
    return read_dockerfile(read_text(folder.dockerfile))


def _file(folder: Folder) -> Finding:
    if folder.dockerfile is None:
        return failed(
            "There is neither server/Dockerfile nor Dockerfile, so no image can be built",
            "Copy the one that `openenv init my_env` writes.",
        )
    return passed(f"There is {folder.dockerfile.relative_to(folder.path)}")


def _from(folder: Folder) -> Finding:
    instructions = _instructions(folder)
    first = next((said for said in instructions if said.name != "ARG"), None)
    if first is None or first.name != "FROM" or not first.words:
        where = "It is empty" if first is None else f"Line {first.line} is {first.name}"
        return failed(
            f"{where}; a Dockerfile begins with FROM, with nothing but ARG before it",
            "Begin with ARG BASE_IMAGE=openenv-base:latest and FROM ${BASE_IMAGE}.",
        )
    return passed(f"Line {first.line}: FROM {first.arguments}")


def _last(folder: Folder, *names: str) -> Instruction | None:
    return next((said for said in reversed(final_stage(_instructions(folder))) if said.name in names), None)


def _start(folder: Folder) -> Finding:
    start = _last(folder, "CMD", "ENTRYPOINT")
    if start is None:
        return failed(
            "The last stage has neither CMD nor ENTRYPOINT, so its container starts no server",
            'Add CMD ["uvicorn", "server.app:app", "--host", "0.0.0.0", "--port", "8000"].',
        )
    return passed(f"Line {start.line}: {start.name} {start.arguments}")


def _port(folder: Folder) -> Finding:
    expected = folder.manifest.port
    start, exposed = _last(folder, "CMD", "ENTRYPOINT"), _last(folder, "EXPOSE")
    text = start.arguments if start else ""
    served = [int(port) for port in _PORT.findall(text)]
    if exposed is not None:
        served += [int(port) for port in re.findall(r"\b(\d+)\b(?:/tcp)?", exposed.arguments)]
    if wrong := [port for port in served if port != expected]:
        return warning(
            f"openenv.yaml has port: {expected}, and the Dockerfile {wrong[0]}: "
            "who starts the image by openenv.yaml finds no server",
            "Write the same port in both.",
        )
    return passed(f"Port {expected}, as in openenv.yaml" if served else "It names no port")


def _user(folder: Folder) -> Finding:
    user = _last(folder, "USER")
    if user is None:
        return warning(
            "The last stage has no USER, so the container is root's, where its base image has no user either",
            "Add USER before CMD, as in the Dockerfile that `openenv init` writes.",
        )
    name = user.arguments.partition(":")[0].strip()
    if name in ("root", "0"):
        return warning(f"Line {user.line}: the container is root's", "Make a user, and name it with USER.")
    return passed(f"Line {user.line}: USER {user.arguments}")


def _healthcheck(folder: Folder) -> Finding:
    check = _last(folder, "HEALTHCHECK")
    if check is None or check.arguments.upper() == "NONE":
        return warning(
            "There is no HEALTHCHECK: what runs the container cannot tell whether the server answers",
            "Add HEALTHCHECK CMD curl -f http://localhost:8000/health || exit 1.",
        )
    return passed(f"Line {check.line}: HEALTHCHECK {check.arguments}")


def _secrets(folder: Folder) -> Finding:
    assert folder.dockerfile is not None
    rules, left_out = ignore_rules(folder.dockerfile, folder.path), LeftOut(folder.path)
    secrets = [
        path
        for path in (PurePosixPath(file.as_posix()) for file in folder.files)
        if looks_secret(path.name) and not is_ignored(path, rules) and not left_out.has(path)
    ]
    found = []
    for said in _instructions(folder):
        if said.name in ("COPY", "ADD") and "--from=" not in said.arguments:
            found += [f"line {said.line} copies {path}" for path in secrets if _copies(said, path)]
        elif said.name in ("ENV", "ARG"):
            found += [f"line {said.line} has a value for {name}" for name in _secret_values(said)]
    if found:
        return failed(
            f"Everyone who has the image can read its secrets: {'; '.join(found)}",
            "Name the file in .gitignore or .dockerignore, change the secret, and give it to the container "
            "when it starts (docker run -e, or the secrets of a Space).",
        )
    return passed("It copies no file that looks like a secret, and sets none")


def _copies(said: Instruction, path: PurePosixPath) -> bool:
    """Whether an instruction copies a file of the folder, which is taken for the build's context."""
    sources = [PurePosixPath(word.lstrip("/") or ".") for word in said.words[:-1]]
    return any(fnmatchcase(str(part), str(source)) for source in sources for part in (path, *path.parents))


def _secret_values(said: Instruction) -> list[str]:
    pairs = _PAIR.findall(said.arguments)
    if said.name == "ENV" and not pairs:  # ENV NAME value
        name, _, value = said.arguments.partition(" ")
        pairs = [(name, value)]
    return [
        name
        for name, value in pairs
        if _SECRET_NAME.search(name) and value.strip("\"'$ ") and "$" not in value
    ]


DOCKER_FILE_CHECKS = (
    Check("docker.file", "It has a Dockerfile", _file),
    Check("docker.from", "The Dockerfile begins with FROM", _from, needs=("docker.file",)),
    Check("docker.start", "The Dockerfile says what to start", _start, needs=("docker.from",)),
    Check(
        "docker.port",
        "The Dockerfile serves the port that openenv.yaml names",
        _port,
        needs=("docker.start", "manifest.valid"),
    ),
    Check("docker.user", "The container is not root's", _user, needs=("docker.from",)),
    Check("docker.healthcheck", "The container has a health check", _healthcheck, needs=("docker.from",)),
    Check("docker.secrets", "The image holds no secrets", _secrets, needs=("docker.from",)),
)
