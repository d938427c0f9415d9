"""Checks of the Dockerfile, without a build."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

from openenv_cli.docker.dockerfile import (
    Instruction,
    final_stage,
    read_dockerfile,
)
from openenv_cli.files import read_text
from openenv_cli.secret_files import KEEP_ADVICE, secrets_of_image
from openenv_cli.validation.check import Check, CheckResult, failed, passed, warning
from openenv_cli.validation.folder_checks import Folder

_SECRET_NAME = re.compile(r"TOKEN|SECRET|PASSW(OR)?D|API_?KEY|PRIVATE_?KEY|CREDENTIAL", re.IGNORECASE)
_PAIR = re.compile(r"""(\w+)=("[^"]*"|'[^']*'|\S*)""")
_PORT = re.compile(r"--port[\s=\",']+(\d+)")


def _instructions(folder: Folder) -> list[Instruction]:
    assert folder.dockerfile is not None  # docker.file has passed
    return read_dockerfile(read_text(folder.dockerfile))


def _file(folder: Folder) -> CheckResult:
    if folder.dockerfile is None:
        return failed(
            "It has neither server/Dockerfile nor Dockerfile, so no image can be built",
            "Copy the one that `openenv init my_env` writes.",
        )
    return passed(f"It has {folder.dockerfile.relative_to(folder.path)}")


def _from(folder: Folder) -> CheckResult:
    instructions = _instructions(folder)
    first = next((instruction for instruction in instructions if instruction.name != "ARG"), None)
    if first is None or first.name != "FROM" or not first.words:
        where = "It is empty" if first is None else f"Line {first.line} is {first.name}"
        return failed(
            f"{where}; a Dockerfile starts with FROM, and only ARG may precede it",
            "Start with ARG BASE_IMAGE=openenv-base:latest and FROM ${BASE_IMAGE}.",
        )
    return passed(f"Line {first.line}: FROM {first.arguments}")


def _last(folder: Folder, *names: str) -> Instruction | None:
    instructions = reversed(final_stage(_instructions(folder)))
    return next((instruction for instruction in instructions if instruction.name in names), None)


def _start(folder: Folder) -> CheckResult:
    start = _last(folder, "CMD", "ENTRYPOINT")
    if start is None:
        return failed(
            "The last stage has neither CMD nor ENTRYPOINT, so the container starts no server",
            'Add CMD ["uvicorn", "server.app:app", "--host", "0.0.0.0", "--port", "8000"].',
        )
    return passed(f"Line {start.line}: {start.name} {start.arguments}")


def _port(folder: Folder) -> CheckResult:
    expected = folder.manifest.port
    start, exposed = _last(folder, "CMD", "ENTRYPOINT"), _last(folder, "EXPOSE")
    text = start.arguments if start else ""
    served = [int(port) for port in _PORT.findall(text)]
    if exposed is not None:
        served += [int(port) for port in re.findall(r"\b(\d+)\b(?:/tcp)?", exposed.arguments)]
    if wrong := [port for port in served if port != expected]:
        return warning(
            f"openenv.yaml has port: {expected}, but the Dockerfile {wrong[0]}: "
            "tools that use openenv.yaml cannot reach the server",
            "Use the same port in both.",
        )
    return passed(f"Port {expected}, as in openenv.yaml" if served else "It does not mention a port")


def _user(folder: Folder) -> CheckResult:
    user = _last(folder, "USER")
    if user is None:
        return warning(
            "The last stage has no USER, so the container runs as root unless its base image sets a user",
            "Add USER before CMD, as in the Dockerfile that `openenv init` writes.",
        )
    name = user.arguments.partition(":")[0].strip()
    if name in ("root", "0"):
        return warning(
            f"Line {user.line}: the container runs as root", "Create a user, and select it with USER."
        )
    return passed(f"Line {user.line}: USER {user.arguments}")


def _healthcheck(folder: Folder) -> CheckResult:
    check = _last(folder, "HEALTHCHECK")
    if check is None or check.arguments.upper() == "NONE":
        return warning(
            "It has no HEALTHCHECK, so nothing notices if the server hangs",
            "Add HEALTHCHECK CMD curl -f http://localhost:8000/health || exit 1.",
        )
    return passed(f"Line {check.line}: HEALTHCHECK {check.arguments}")


def _secrets(folder: Folder) -> CheckResult:
    assert folder.dockerfile is not None
    paths = (PurePosixPath(file.as_posix()) for file in folder.files)
    published = (path for path in paths if not folder.rules.excludes(path))
    found = secrets_of_image(folder.dockerfile, folder.path, published, folder.rules)
    for instruction in _instructions(folder):
        if instruction.name in ("ENV", "ARG"):
            found += [f"line {instruction.line} sets {name}" for name in _secret_values(instruction)]
    if found:
        return failed(
            f"Everyone with access to the image can read its secrets: {'; '.join(found)}",
            "Add the file to .gitignore or .dockerignore, change the secret, and pass it to the container "
            f"when it starts (docker run -e, or the secrets of a Space). {KEEP_ADVICE}",
        )
    return passed("It copies no file that looks like a secret, and sets no secret")


def _secret_values(instruction: Instruction) -> list[str]:
    pairs = _PAIR.findall(instruction.arguments)
    if instruction.name == "ENV" and not pairs:  # ENV NAME value
        name, _, value = instruction.arguments.partition(" ")
        pairs = [(name, value)]
    return [
        name
        for name, value in pairs
        if _SECRET_NAME.search(name) and value.strip("\"'$ ") and "$" not in value
    ]


DOCKERFILE_CHECKS = (
    Check("docker.file", "It has a Dockerfile", _file),
    Check("docker.from", "The Dockerfile starts with FROM", _from, needs=("docker.file",)),
    Check("docker.start", "The Dockerfile starts a server", _start, needs=("docker.from",)),
    Check(
        "docker.port",
        "The Dockerfile uses the port in openenv.yaml",
        _port,
        needs=("docker.start", "manifest.valid"),
    ),
    Check("docker.user", "The container does not run as root", _user, needs=("docker.from",)),
    Check("docker.healthcheck", "The container has a health check", _healthcheck, needs=("docker.from",)),
    Check("docker.secrets", "The image contains no secrets", _secrets, needs=("docker.from",)),
)
