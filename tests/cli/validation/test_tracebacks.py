"""What of a log is shown, and what is said of a container that ended."""

from __future__ import annotations

from pathlib import Path

from openenv_cli.validation.server import own_frames, start_failure

from openenv_gym.errors import ConfigurationError

LOG = """\
INFO: starting
Traceback (most recent call last):
  File "/usr/local/lib/python3.11/site-packages/uvicorn/config.py", line 467, in load
    self.loaded_app = import_from_string(self.app)
                      ^^^^^^^^^^^^^^^^^^^^^^^^^^^^
  File "<frozen importlib._bootstrap>", line 1204, in _gcd_import
  File "/app/env/server/app.py", line 9, in <module>
    LEVELS = Path("levels.json").read_text()
             ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
  File "/app/env/.venv/lib/python3.11/site-packages/walker/levels.py", line 3, in read
  File "/usr/lib/python3.11/pathlib.py", line 1058, in read_text
    with self.open(mode='r', encoding=encoding, errors=errors) as f:
FileNotFoundError: [Errno 2] No such file or directory: 'levels.json'
"""
SHORT = """\
INFO: starting
  File "/app/env/server/app.py", line 9, in <module>
    LEVELS = Path("levels.json").read_text()
  File "/app/env/.venv/lib/python3.11/site-packages/walker/levels.py", line 3, in read
FileNotFoundError: [Errno 2] No such file or directory: 'levels.json'"""


def test_of_a_traceback_the_author_sees_their_own_frames_and_the_exception() -> None:
    assert own_frames(LOG, ["walker"]) == SHORT
    assert "walker/levels.py" not in own_frames(LOG)


def test_a_log_without_a_traceback_stays_as_it_is() -> None:
    log = "INFO: starting\n    indented: yes\nListening on port 8000"
    assert own_frames(log) == log


def test_a_message_of_several_lines_is_kept() -> None:
    message = "ValueError: 1 error\nx\n  Input should be less\n    For more, see the manual"
    log = f'Traceback (most recent call last):\n  File "/app/env/a.py", line 3, in f\n    g()\n{message}'
    assert own_frames(log) == f'  File "/app/env/a.py", line 3, in f\n    g()\n{message}'


def test_a_file_that_an_image_lacks_may_be_left_out_of_it() -> None:
    error = ConfigurationError("The container exited with code 1.", log=LOG)
    result = start_failure(error, "docker run", packages=["walker"], in_image=True, folder=Path("my_env"))
    first, *others = result.detail.splitlines()
    assert first.startswith("The container exited with code 1: FileNotFoundError: ")
    assert others == SHORT.splitlines()[:-1]
    assert ".dockerignore" in result.fix
    assert "package" in result.fix
