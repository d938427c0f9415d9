"""Several keys at once, a file of keys that changes, a key for the metrics, and a header for keys."""

from __future__ import annotations

import base64
import logging
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from fastapi import FastAPI
from openenv_server import create_app
from openenv_server.security.secrets import SecretFilter

from openenv_gym import GenericEnvClient, RemoteEnv, RemoteVectorEnv
from openenv_gym.errors import ConfigurationError, UnauthorizedError
from openenv_gym.process_key import process_key
from openenv_gym.providers.server_command import ServerCommand
from openenv_gym.transport.credentials import Credentials
from tests.server.test_security import ask
from tests.support.environments import CountAction, Counter, CountObservation
from tests.support.processes import serving_sleeper
from tests.support.servers import running, status_of

OLD, NEW, SCRAPER = "sesame-old", "sesame-new", "sesame-scraper"
HEADER = "X-Environment-Key"


class Sharing(Counter):
    SUPPORTS_CONCURRENT_SESSIONS = True


def app(**variables: str) -> FastAPI:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(name, value)
        return create_app(Sharing, CountAction, CountObservation)


@contextmanager
def served(**variables: str) -> Iterator[str]:
    with running(app(**variables)) as base_url:
        yield base_url


def is_let_in(base_url: str, key: str, path: str = "/schema") -> bool:
    status = ask(f"{base_url}{path}", headers={"Authorization": f"Bearer {key}"} if key else {})[0]
    assert status in (200, 401)
    return status == 200


def replace(file: Path, text: str) -> None:
    """Replace a file as mounted secrets are, in one step."""
    new = file.with_suffix(".new")
    new.write_text(text)
    new.replace(file)


# --- several ----------------------------------------------------------------------------------------------


def test_each_of_several_keys_opens_http_and_both_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    with served(OPENENV_API_KEY=f"{NEW}\n{OLD}\n") as base_url:
        for key in (NEW, OLD):
            assert is_let_in(base_url, key)
            with GenericEnvClient(base_url, api_key=key) as client:
                client.reset()
            RemoteVectorEnv(base_url, 2, api_key=key).close()
        for wrong in ("", "sesame", f"{NEW}{OLD}", f"{NEW},{OLD}"):
            assert not is_let_in(base_url, wrong)
        # A client that has the same variable sends the first one.
        monkeypatch.setenv("OPENENV_API_KEY", f"{NEW}\n{OLD}")
        assert process_key() == NEW
        RemoteEnv(base_url).close()


# --- a file -----------------------------------------------------------------------------------------------


def test_a_file_of_keys_is_read_again_when_it_changes(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "keys"
    file.write_text(f"{OLD}\n")
    with served(OPENENV_API_KEY_FILE=str(file)) as base_url:
        assert is_let_in(base_url, OLD)
        assert not is_let_in(base_url, "")
        env = RemoteEnv(base_url, api_key=OLD)
        env.reset()
        replace(file, f"{NEW}\n\n{OLD}\n")
        assert is_let_in(base_url, NEW)
        assert is_let_in(base_url, OLD)
        replace(file, NEW)
        assert is_let_in(base_url, NEW)
        assert not is_let_in(base_url, OLD)
        env.step(env.action_space.sample() * 0 + 1)  # a session that is open goes on
        env.close()
        monkeypatch.setenv("OPENENV_API_KEY_FILE", str(file))
        RemoteEnv(base_url).close()  # a client reads it, too
        with pytest.raises(UnauthorizedError):
            RemoteEnv(base_url, api_key=OLD)
        with caplog.at_level(logging.WARNING):
            caplog.clear()
            for broken in ("", f"{NEW} and more words\n"):
                replace(file, broken)
                assert is_let_in(base_url, NEW)
                assert not is_let_in(base_url, OLD)
            file.unlink()
            for _ in range(3):
                assert is_let_in(base_url, NEW)
        assert len(caplog.records) == 3
        assert all("still valid" in record.getMessage() for record in caplog.records)
        assert NEW not in caplog.text


@pytest.mark.parametrize("content", [None, "", "\n", "two words"])
def test_a_file_without_a_key_keeps_the_server_from_starting(tmp_path: Path, content: str | None) -> None:
    file = tmp_path / "keys"
    if content is not None:
        file.write_text(content)
    with pytest.raises(ConfigurationError, match=r"OPENENV_API_KEY_FILE: .*keys") as refused:
        app(OPENENV_API_KEY_FILE=str(file))
    assert "two words" not in str(refused.value)


def test_the_keys_of_a_file_are_no_more_in_the_log_or_in_children_than_others(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text(OLD)
    variables = {"LOG_LEVEL": "debug", "OPENENV_API_KEY_HEADER": HEADER, "OPENENV_METRICS_KEY": SCRAPER}
    with serving_sleeper(tmp_path, OPENENV_API_KEY_FILE=str(file), **variables) as server:
        replace(file, NEW)
        for key in (OLD, NEW, SCRAPER, "wrong-4712"):
            with_header = {HEADER: key, "Authorization": f"Bearer {key}"}
            ask(f"{server.base_url}/schema?key={key[:6]}", headers=with_header)
            with GenericEnvClient(server.base_url, api_key=NEW) as client:
                client.reset()
                client.step({"seconds": 0})
        server.signal(signal.SIGTERM)
        server.ends()
    log = "".join(server.lines)
    assert "have changed: 1 are valid" in log
    assert "401" in log
    for key in (OLD, NEW, SCRAPER, "4712"):
        assert key not in log


def test_a_server_that_is_started_here_asks_for_the_key_of_the_file_and_does_not_get_its_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "keys").write_text(f"{NEW}\n{OLD}\n")
    monkeypatch.setenv("OPENENV_API_KEY_FILE", str(tmp_path / "keys"))
    variables = ServerCommand(gym="CartPole-v1").resolve("127.0.0.1").environment()
    assert variables["OPENENV_API_KEY"] == NEW
    assert "OPENENV_API_KEY_FILE" not in variables
    open_to_all = ServerCommand(gym="CartPole-v1", api_key="").resolve("127.0.0.1").environment()
    assert not {"OPENENV_API_KEY", "OPENENV_API_KEY_FILE"} & set(open_to_all)


# --- the metrics ------------------------------------------------------------------------------------------


def test_the_key_of_the_metrics_opens_nothing_else() -> None:
    with served(OPENENV_API_KEY=NEW, OPENENV_METRICS_KEY=SCRAPER) as base_url:
        assert is_let_in(base_url, SCRAPER, "/metrics")
        assert is_let_in(base_url, SCRAPER, "/health")
        assert is_let_in(base_url, NEW, "/metrics")
        assert not is_let_in(base_url, "", "/metrics")
        for path in ("/schema", "/state", "/docs", "/metrics/", "/nowhere", "/"):
            assert not is_let_in(base_url, SCRAPER, path), path
        assert status_of(f"{base_url}/reset", {}, key=SCRAPER)[0] == 401
        for make in (RemoteEnv, GenericEnvClient):
            with pytest.raises(UnauthorizedError):
                make(base_url, api_key=SCRAPER).reset()


def test_a_server_without_other_keys_may_have_one_for_its_metrics() -> None:
    with served(OPENENV_METRICS_KEY=SCRAPER) as base_url:
        assert not is_let_in(base_url, "", "/metrics")
        assert is_let_in(base_url, SCRAPER, "/metrics")
        assert is_let_in(base_url, "", "/schema")


# --- the header -------------------------------------------------------------------------------------------


def test_a_key_may_come_in_a_header_of_its_own() -> None:
    basic = {"Authorization": f"Basic {base64.b64encode(b'me:secret').decode()}"}
    with served(OPENENV_API_KEY=NEW, OPENENV_API_KEY_HEADER=HEADER) as base_url:
        assert ask(f"{base_url}/schema", headers={HEADER: NEW, **basic})[0] == 200
        assert ask(f"{base_url}/schema", headers={HEADER.lower(): NEW})[0] == 200
        assert is_let_in(base_url, NEW)  # as clients without the setting show it
        for wrong in ({HEADER: OLD}, {HEADER: f"Bearer {NEW}"}, {"X-API-Key": NEW}, basic):
            status, body, _ = ask(f"{base_url}/schema", headers=wrong)
            assert status == 401
            assert f"{HEADER}: KEY".encode() in body


def test_a_client_has_one_setting_for_the_header(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENENV_API_KEY_HEADER", HEADER)
    basic = {"Authorization": "Basic bWU6c2VjcmV0"}
    assert Credentials.of(NEW, basic).headers == (*basic.items(), (HEADER, NEW))
    assert Credentials.of(NEW, basic).key == NEW
    assert Credentials.of(NEW).headers == ((HEADER, NEW), ("Authorization", f"Bearer {NEW}"))
    monkeypatch.setenv("OPENENV_API_KEY", OLD)
    assert Credentials.of(headers=basic).key == OLD
    assert Credentials.of(headers={HEADER: NEW}).headers == ((HEADER, NEW),)
    with pytest.raises(ConfigurationError, match=rf"headers= has an? {HEADER}"):
        Credentials.of(NEW, {HEADER: OLD})
    monkeypatch.setenv("OPENENV_API_KEY_HEADER", "two words")
    with pytest.raises(ConfigurationError, match="not the name of a header"):
        Credentials.of(NEW)


@pytest.mark.parametrize("name", ["X-API-Key", "x+key"])
def test_the_values_of_the_header_are_hidden_in_the_log(name: str) -> None:
    hiding = SecretFilter()
    hiding.hide_header(name)
    record = logging.makeLogRecord({"msg": f"< {name.lower()}: unknown-4712\r\n"})
    hiding.filter(record)
    assert record.getMessage() == f"< {name.lower()}: ***\r\n"


def test_a_page_of_the_application_below_web_needs_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("openenv_server.playground.mount.has_gradio", lambda: True)
    monkeypatch.setenv("OPENENV_API_KEY", "let-me-in")
    app = create_app(Counter, CountAction, CountObservation)

    @app.get("/web/mine")
    def mine() -> dict[str, str]:
        return {"page": "mine"}

    with running(app) as url:
        assert status_of(f"{url}/web/mine")[0] == 401
        assert status_of(f"{url}/web/mine", key="let-me-in") == (200, {"page": "mine"})
        assert status_of(f"{url}/website")[0] == 401
