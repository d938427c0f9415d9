"""Which files look like secrets, and that none is published without a word."""

from __future__ import annotations

import time
from pathlib import Path, PurePosixPath

import pytest
from openenv_cli.docker.environment import build_environment
from openenv_cli.files import IgnoreRules
from openenv_cli.secret_files import find_secrets, looks_secret, secret_in
from openenv_cli.validation.check import Silent
from openenv_cli.validation.report import Level, Outcome
from openenv_cli.validation.run import validate_folder

from openenv_gym.errors import ConfigurationError

BASE64 = "MIIEvQIBADANBgkqhkiG9w0BAQEFAASC"
LETTERS = "aB3dE5fG7hJ9kL2mN4pQ6rS8tU1vW3xY5zA7bC9dE2"
# In two parts, so that this file has none itself.
CONTENTS = {
    "a private key": "-----BEGIN RSA " + f"PRIVATE KEY-----\n{BASE64}\n",
    "a private key in JSON": '{"private_key": "-----BEGIN ' + f'PRIVATE KEY-----\\n{BASE64}\\n"}}',
    "a private key of OpenSSH": "-----BEGIN OPENSSH " + f"PRIVATE KEY-----\r\n{BASE64}",
    **{
        f"a private key, {how}": text.replace("BEGIN", "-----BEGIN RSA " + "PRIVATE KEY-----")
        for how, text in {
            "with headers": f"BEGIN\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,0123456789AB\n\n{BASE64}",
            "in strings of Python": f'KEY = (\n    "BEGIN\\n"\n    "{BASE64}\\n"\n)',
            "in comments": f"# BEGIN\n# {BASE64}",
            "far to the right": f"BEGIN\n{' ' * 40}{BASE64}",
            "in a URL": f"key=BEGIN%0A{BASE64}",
            "in HTML": f"BEGIN<br>{BASE64}",
        }.items()
    },
    "a key of OpenRouter": "sk-or" + "-v1-" + "0123456789abcdef" * 4,
    "a key of Groq": "gsk" + f"_{LETTERS}{LETTERS}"[:53],
    "a token of Replicate": "r8" + f"_{LETTERS[:37]}",
    "a token of Hugging Face": "token = 'hf" + f"_{LETTERS[:34]}'",
    "a token of GitHub": "ghp" + f"_{LETTERS[:36]}",
    "a key of AWS": "AKIA" + "Z7Q2W9E4R6T1Y3U5",
    "a secret key of AWS": "aws_secret_access_key = " + LETTERS[:40],
    "a key of OpenAI": "OPENAI_API_KEY=sk-proj" + f"-{LETTERS}",
    "a key of Anthropic": "sk-ant" + f"-api03-{LETTERS}",
}
HARMLESS = {
    "a placeholder": "export HF_TOKEN=hf_" + "x" * 34,
    "AWS' own example": "AKIA" + "IOSFODNN7EXAMPLE",
    "code that looks for keys": 'if "-----BEGIN PRIVATE KEY-----" in text:',
    "a word": "the task-" + "a" * 60 + " is half_" + LETTERS,
    "a public key": "-----BEGIN PUBLIC KEY-----\n" + BASE64,
    "hashes": "sha256:" + "0123456789abcdef" * 4,
}


@pytest.mark.parametrize(
    "path",
    ".huggingface/token credentials.yaml client_secret.json client_secret_123.apps.json .aws/config .pgpass "  # noqa: SIM905
    "kubeconfig prod.env .envrc .bash_history id_rsa.bak id_rsa terraform.tfstate terraform.tfstate.backup "
    ".ENV .env-prod .env_local .env2 kaggle.json .s3cfg rclone.conf .modal.toml AuthKey.p8 .secrets/hf "
    "deploy.pem.old .npmrc home/.ssh/deploy server/KEY.PEM .env.local "
    "cache/huggingface/token .netrc~".split(),
)
def test_names_of_secrets(path: str) -> None:
    assert looks_secret(PurePosixPath(path))


@pytest.mark.parametrize(
    "path",
    ".env.example id_rsa.pub token tokens.json environment.py keys.py credentials.py config.json README.md "  # noqa: SIM905
    "server/Dockerfile openenv.yaml uv.lock history.txt client_secret.py secret_files.py".split(),
)
def test_names_of_other_files(path: str) -> None:
    assert not looks_secret(PurePosixPath(path))


@pytest.mark.parametrize("what", CONTENTS)
@pytest.mark.parametrize("offset", [0, 2**20 - 20, 3 * 2**20])
def test_secrets_are_found_wherever_they_are_in_a_file(what: str, offset: int, tmp_path: Path) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("a line\n" * (offset // 7) + "\n" + CONTENTS[what])
    found = secret_in(file)
    assert found is not None
    assert what.startswith(found)


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("offset", [0, 2**19 - 20])
def test_secrets_are_found_in_what_powershell_writes(encoding: str, offset: int, tmp_path: Path) -> None:
    file = tmp_path / "notes.txt"
    text = f"\ufeff{'a line ' * (offset // 7)}\r\n{CONTENTS['a token of Hugging Face']}"
    file.write_bytes(text.encode(encoding))
    assert secret_in(file) == "a token of Hugging Face"


@pytest.mark.parametrize("what", HARMLESS)
def test_other_texts_are_no_secrets(what: str, tmp_path: Path) -> None:
    file = tmp_path / "notes.txt"
    file.write_text(HARMLESS[what])
    assert secret_in(file) is None


@pytest.mark.parametrize(
    "filler", [b"-----BEGIN " * 9, b"hf_", b"sk-", b"a" * 99 + b"\n", b"\0\1\2", b"AKIA"]
)
def test_large_files_take_bounded_time(filler: bytes, tmp_path: Path) -> None:
    file = tmp_path / "weights.bin"
    with file.open("wb") as opened:
        for _ in range(40):
            opened.write((filler * (2**20 // len(filler) + 1))[: 2**20])
    begin = time.process_time()
    assert secret_in(file) is None
    seconds = time.process_time() - begin
    print(f"40 MiB of {filler[:12]!r}: {seconds:.2f} s")
    assert seconds < 10


def test_an_exception_keeps_a_file(tmp_path: Path) -> None:
    (tmp_path / "fake.pem").write_text(CONTENTS["a private key"])
    (tmp_path / "notes.txt").write_text(CONTENTS["a token of GitHub"])
    paths = [PurePosixPath("fake.pem"), PurePosixPath("notes.txt")]
    assert [shown for _, shown in find_secrets(tmp_path, paths, IgnoreRules(tmp_path))] == [
        "fake.pem",
        "notes.txt (it has a token of GitHub)",
    ]
    assert not list(find_secrets(tmp_path, paths, IgnoreRules(tmp_path, ["!fake.pem", "!notes.txt"])))
    (tmp_path / ".gitignore").write_text("!fake.pem\n!notes.txt\n")
    assert not list(find_secrets(tmp_path, paths, IgnoreRules(tmp_path)))


def test_an_image_with_secrets_is_not_built_and_validate_says_so(tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM python:3.12\nCOPY server /app\n")
    (tmp_path / "openenv.yaml").write_text("name: my_env\n")
    (tmp_path / "server").mkdir()
    (tmp_path / "server" / "notes.txt").write_text(CONTENTS["a token of Hugging Face"])
    (tmp_path / "not_copied.pem").write_text("x")
    (tmp_path / "weights.bin").symlink_to("/etc/passwd")
    with pytest.raises(ConfigurationError, match=r"line 2 copies server/notes\.txt .*token of Hugging Face"):
        build_environment(tmp_path, tmp_path / "Dockerfile", "t", name="my_env")
    report = validate_folder(tmp_path, Silent(), level=Level.STATIC)
    failed = {check.id: check.detail for check in report.checks if check.outcome is Outcome.FAILED}
    assert "server/notes.txt" in failed["docker.secrets"]
    assert "weights.bin is a link to /etc/passwd" in failed["files.links"]
