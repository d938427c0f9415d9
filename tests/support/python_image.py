"""The image that `openenv-base` starts from, made from Debian's packages: a registry may be out of reach."""

from __future__ import annotations

import hashlib
import os
import shutil
import ssl
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

import platformdirs

from tests.support.engine import Engine

TAG = "python:3.12-slim"
# As in the image it stands for, and, since there is no apt-get in it, what images that start from it install.
_WANTED = ("base-files", "base-passwd", "busybox-static", "curl", "libstdc++6", "netbase", "passwd", "tzdata")
_WANTED += ("bubblewrap", "libc-bin", "libseccomp2", "mount", "util-linux")
# Needed to install packages, not to use them.
_PRUNED = {"cdebconf", "debconf", "dpkg", "install-info", "perl-base"}
_CERTIFICATES = "etc/ssl/certs/ca-certificates.crt"
# Where packages come from; a build in a container needs the same.
_PACKAGE_SETTINGS = (
    "PIP_INDEX_URL",
    "PIP_EXTRA_INDEX_URL",
    "UV_INDEX",
    "UV_DEFAULT_INDEX",
    "UV_INDEX_URL",
    "UV_EXTRA_INDEX_URL",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
)


def load_python_image(engine: Engine) -> str:
    """Puts the image into an engine's store; returns its tag.

    It is kept in the user's cache, so that it is made once for each version of its packages.
    """
    try:
        packages = _download(_closure())
    except AssertionError:  # apt-get has no list of packages, or an old one
        _run("apt-get", "update", "-q")
        packages = _download(_closure())
    archive = _archive(packages)
    settings = {name: os.environ[name] for name in _PACKAGE_SETTINGS if name in os.environ} | {
        "PATH": "/usr/local/bin:/usr/local/sbin:/usr/bin:/usr/sbin:/bin:/sbin",
        "LANG": "C.UTF-8",
        "SSL_CERT_FILE": f"/{_CERTIFICATES}",
        "PIP_CERT": f"/{_CERTIFICATES}",
    }
    changes = [f"--change=ENV {name}={value}" for name, value in settings.items()]
    engine.docker("import", *changes, '--change=CMD ["python3"]', str(archive), TAG)
    return TAG


def _cache(name: str) -> Path:
    folder = Path(platformdirs.user_cache_dir("openenv-gym", appauthor=False)) / name
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _run(*command: str, cwd: Path | None = None) -> str:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
    return done.stdout


def _depends(*packages: str) -> str:
    without = ("recommends", "suggests", "conflicts", "breaks", "replaces", "enhances")
    return _run("apt-cache", "depends", "--recurse", *(f"--no-{kind}" for kind in without), *packages)


def _closure() -> list[str]:
    """The wanted packages with all that they need. The first of alternatives counts."""
    python = next(
        line.split()[-1]
        for line in _depends("python3").splitlines()
        if line.strip().startswith("Depends: python3.")
    )
    needs: dict[str, list[str]] = {}
    package, is_alternative = "", False
    for line in _depends(python, *_WANTED).splitlines():
        kind, _, name = line.partition("Depends: ")
        if not line.startswith((" ", "|")):
            package = line
        elif name and not is_alternative and not name.startswith("<"):
            needs.setdefault(package, []).append(name)
        is_alternative = bool(name) and kind.lstrip().startswith("|")
    found: list[str] = []
    todo = [python, *_WANTED]
    while todo:
        name = todo.pop()
        if name not in found and name not in _PRUNED:
            found.append(name)
            todo += needs.get(name, [])
    return sorted(found)


def _download(packages: Iterable[str]) -> list[Path]:
    """The packages' files, from the cache where they are in it."""
    folder = _cache("debian")
    files = {}
    for line in _run("apt-get", "download", "--print-uris", *packages).splitlines():
        name = line.split()[1]
        files[name.split("_")[0]] = folder / name
    missing = [package for package, file in files.items() if not file.exists()]
    if missing:
        with tempfile.TemporaryDirectory(dir=folder) as temporary:
            # Otherwise apt-get warns, for each, that its own user has no way into the folder.
            _run("apt-get", "download", "-o", "APT::Sandbox::User=root", *missing, cwd=Path(temporary))
            for file in Path(temporary).iterdir():
                file.replace(folder / file.name)
    return sorted(files.values())


def _archive(packages: list[Path]) -> Path:
    """The image's files as a tar archive, kept until its packages or its certificates are others."""
    certificates = Path(ssl.get_default_verify_paths().cafile or f"/{_CERTIFICATES}")
    recipe = [Path(__file__).read_bytes(), certificates.read_bytes(), *(p.name.encode() for p in packages)]
    key = hashlib.sha256(b"\0".join(recipe)).hexdigest()[:16]
    archive = _cache("images") / f"python-{key}.tar"
    if archive.exists():
        return archive
    for outdated in archive.parent.glob("python-*.tar"):
        outdated.unlink()
    with tempfile.TemporaryDirectory(prefix="python-image-") as temporary:
        tree = Path(temporary) / "tree"
        tree.mkdir()
        for package in packages:
            _unpack(package, tree)
        _complete(tree, certificates)
        new = archive.with_name(f".{archive.name}.{os.getpid()}")
        _run("tar", "-C", str(tree), "-cf", str(new), ".")
        new.replace(archive)
    return archive


def _unpack(package: Path, tree: Path) -> None:
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", str(package)], stdout=subprocess.PIPE) as archive:
        subprocess.run(
            ["tar", "-C", str(tree), "--keep-directory-symlink", "-x"], stdin=archive.stdout, check=True
        )
    assert archive.returncode == 0, package


def _complete(tree: Path, certificates: Path) -> None:
    """Does what the packages' scripts would do, and puts pip where the official image has it."""
    for documentation in ("doc", "man", "locale", "info", "lintian"):
        shutil.rmtree(tree / "usr/share" / documentation, ignore_errors=True)
    for name, master in (("passwd", "passwd.master"), ("group", "group.master")):
        shutil.copyfile(tree / "usr/share/base-passwd" / master, tree / "etc" / name)
    # Applets that the packages have as commands already are left out.
    subprocess.run(["chroot", str(tree), "/bin/busybox", "--install", "-s"], check=True, capture_output=True)
    subprocess.run(["chroot", str(tree), "/sbin/ldconfig"], check=True)
    python = next((tree / "usr/bin").glob("python3.*"))
    for name in ("python", "python3"):
        (tree / "usr/bin" / name).symlink_to(python.name)
    library = f"usr/lib/{python.name}"
    (tree / library / "EXTERNALLY-MANAGED").unlink(missing_ok=True)
    _install_pip(tree / "usr/local/lib" / python.name / "dist-packages")
    command = tree / "usr/bin/pip"
    command.write_text('#!/bin/sh\nexec python3 -m pip "$@"\n')
    command.chmod(0o755)
    target = tree / _CERTIFICATES
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(certificates, target)


def _install_pip(folder: Path) -> None:
    uv = os.environ.get("UV") or shutil.which("uv")
    assert uv is not None, "uv brings pip into the image: pip install uv"
    command = [uv, "pip", "install", "-q", "-p", sys.executable, "--target", str(folder), "pip"]
    subprocess.run(command, check=True)
