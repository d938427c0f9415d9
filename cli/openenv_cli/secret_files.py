"""Files that most likely hold secrets: by their names, and by private keys and tokens in their contents.

A file that is meant to be published is named by an exception, such as ``!tests/fake.pem``, in a
``.gitignore`` or with ``--exclude``.
"""

from __future__ import annotations

import codecs
import os
import re
from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

from openenv_cli.docker.dockerfile import Instruction, ignore_rules, is_ignored, read_dockerfile
from openenv_cli.files import IgnoreRules, read_text

KEEP_ADVICE = "If another file than .env is meant to be published, add an exception to .gitignore: !FILE."

# In lower case, as names are compared.
_NAMES = (
    ".env", ".env[._0-9-]*", "*.env", ".envrc", ".netrc", "_netrc", ".pypirc", ".npmrc", ".pgpass", ".my.cnf",
    ".htpasswd", ".git-credentials", ".vault-token", ".*_history", "id_rsa*", "id_dsa*", "id_ecdsa*",
    "id_ed25519*",
    "*.pem", "*.key", "*.p8", "*.p12", "*.pfx", "*.ppk", "*.jks", "*.keystore", "*.kdbx", "credentials",
    "credentials.json", "credentials.y*ml", "credentials.toml", "credentials.ini", "credentials.csv",
    "credentials.txt", "client_secret*.json", "service[-_]account*.json", "secrets.*", "kubeconfig",
    "*.kubeconfig", "*.tfstate", "*.tfvars", ".terraformrc", "hf_token*", "kaggle.json", ".s3cfg", ".boto",
    ".dockercfg", "rclone.conf", ".modal.toml", "application_default_credentials.json", "gha-creds-*.json",
)  # fmt: skip
_PLACES = (
    ".huggingface/token", "huggingface/token", ".aws/config", ".aws/credentials", ".docker/config.json",
    ".kube/config",
    ".ssh/*", ".gnupg/*", ".azure/*", "gcloud/*", ".composer/auth.json", ".secrets/*",
)  # fmt: skip
_HARMLESS = (".example", ".sample", ".template", ".pub", ".dist")
_BACKUP = re.compile(r"(~|\.(bak|backup|old|orig|save|copy|swp|tmp|\d+))+\Z")

# Each begins with letters, which are found fast. Tokens have a fixed beginning and a least length.
_CONTENTS = {
    # Quotes, comments, indents, escapes or headers may be before the first line of the key itself.
    "a private key": rb"---- ?BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)? ?----"
    rb"[\s\S]{0,200}?[A-Za-z0-9+/]{32}",
    "a private key of PuTTY": rb"PuTTY-User-Key-File-\d",
    "a token of Hugging Face": rb"hf_[A-Za-z0-9]{30,}",
    "a token of GitHub": rb"gh[pousr]_[A-Za-z0-9]{36,}",
    "a fine-grained token of GitHub": rb"github_pat_\w{60,}",
    "a token of GitLab": rb"glpat-[\w-]{20,}",
    "a key of OpenRouter": rb"sk-or-v1-[0-9a-f]{64}",
    "a key of Groq": rb"gsk_[A-Za-z0-9]{40,}",
    "a key of xAI": rb"xai-[A-Za-z0-9]{60,}",
    "a token of Replicate": rb"r8_[A-Za-z0-9]{37}",
    "a key of LangSmith": rb"lsv2_(?:pt|sk)_[0-9a-f]{32}_[0-9a-f]{10}",
    "a token of Databricks": rb"dapi[0-9a-f]{32}",
    "a webhook of Slack": rb"https://hooks\.slack\.com/services/T\w+/B\w+/\w{20,}",
    "a key of OpenAI": rb"sk-(?:proj-|svcacct-|admin-)[\w-]{40,}|sk-[A-Za-z0-9]{48}",
    "a key of Anthropic": rb"sk-ant-[\w-]{40,}",
    "a key of AWS": rb"(?:AKIA|ASIA)[A-Z0-9]{16}",
    "a secret key of AWS": rb"aws_secret_access_key[\"']?\s{0,4}[=:]\s{0,4}[\"']?[A-Za-z0-9/+]{40}",
    "a key of Google": rb"AIza[\w-]{35}",
    "a token of Slack": rb"xox[abprs]-[\w-]{20,}",
    "a token of npm": rb"npm_[A-Za-z0-9]{36}",
    "a token of PyPI": rb"pypi-AgE[\w-]{50,}",
    "a key of Stripe": rb"[rs]k_live_[A-Za-z0-9]{24,}",
    "a key of SendGrid": rb"SG\.[\w-]{22}\.[\w-]{43}",
    "a token of Docker Hub": rb"dckr_pat_[\w-]{27}",
}
_SHAPES = {what: re.compile(shape) for what, shape in _CONTENTS.items()}
# A placeholder, such as hf_xxxxxxxx, repeats few characters.
_FEWEST_CHARACTERS = 10
_CHUNK = 2**20
_OVERLAP = 2**9
# Of each file. Larger ones are data.
_MOST_BYTES = 2**23
_TEXT_SAMPLE = 2**13


def looks_secret(path: PurePosixPath) -> bool:
    """Whether a file at this path most likely holds a secret, by its name and its folder's."""
    name = path.name.lower()
    if name.endswith(_HARMLESS):
        return False
    names = {name, _BACKUP.sub("", name)}
    place = f"{path.parent.name.lower()}/{name}"
    return any(fnmatchcase(name, pattern) for name in names for pattern in _NAMES) or any(
        fnmatchcase(place, pattern) for pattern in _PLACES
    )


def secret_in(file: Path) -> str | None:
    """The kind of secret in the first 8 MiB of a text file; None if none is found, or the file is binary."""
    before, is_utf16 = b"", False
    with file.open("rb") as opened:
        for _ in range(_MOST_BYTES // _CHUNK):
            chunk = opened.read(_CHUNK)
            if not before and chunk.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
                is_utf16 = True
            if is_utf16:
                chunk = chunk.replace(b"\0", b"")  # the ASCII characters, which secrets are made of
            if not chunk or b"\0" in chunk[:_TEXT_SAMPLE]:
                return None
            text = before + chunk
            for what, shape in _SHAPES.items():
                if any(_is_real(text, found) for found in shape.finditer(text)):
                    return what
            before = text[-_OVERLAP:]
    return None


def _is_real(text: bytes, found: re.Match[bytes]) -> bool:
    """Whether a match is neither the middle of a longer word nor a placeholder."""
    if re.match(rb"\w", text[found.start() - 1 : found.start()]):
        return False
    return len(set(found.group())) >= _FEWEST_CHARACTERS and b"EXAMPLE" not in found.group()


def find_secrets(
    folder: Path, paths: Iterable[PurePosixPath], rules: IgnoreRules
) -> Iterator[tuple[PurePosixPath, str]]:
    """Yield the files that look like secrets, and why.

    Args:
        folder: The folder.
        paths: Files in it. Of a link only the name counts: it is checked, or followed, elsewhere.
        rules: Names the files that are meant to be published.
    """
    for path in paths:
        if rules.keeps(path):
            continue
        file = folder / path
        if looks_secret(path):
            yield path, str(path)
        elif file.is_file() and not file.is_symlink() and (what := secret_in(file)):
            yield path, f"{path} (it has {what})"


def files_of(folder: Path) -> Iterator[PurePosixPath]:
    """Yield all files of a folder, relative to it, without those of git itself."""
    for where, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if name != ".git")
        for name in sorted(names):
            yield PurePosixPath((Path(where) / name).relative_to(folder).as_posix())


def secrets_of_image(
    dockerfile: Path, context: Path, paths: Iterable[PurePosixPath], rules: IgnoreRules
) -> list[str]:
    """Describe the secrets among files of a build context that an image would get.

    Args:
        dockerfile: The Dockerfile.
        context: The build context.
        paths: Files of the context.
        rules: Names the files that are meant to be published.
    """
    docker_rules = ignore_rules(dockerfile, context)
    copying = [
        instruction
        for instruction in read_dockerfile(read_text(dockerfile))
        if instruction.name in ("COPY", "ADD") and "--from=" not in instruction.arguments
    ]
    copied = (
        path
        for path in paths
        if any(_copies(instruction, path) for instruction in copying) and not is_ignored(path, docker_rules)
    )
    return [
        f"line {instruction.line} copies {shown}"
        for path, shown in find_secrets(context, copied, rules)
        for instruction in copying
        if _copies(instruction, path)
    ]


def _copies(instruction: Instruction, path: PurePosixPath) -> bool:
    """Whether an instruction copies a file of the build context."""
    sources = [PurePosixPath(word.lstrip("/") or ".") for word in instruction.words[:-1]]
    return any(fnmatchcase(str(part), str(source)) for source in sources for part in (path, *path.parents))
