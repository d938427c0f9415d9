"""Defects that show when the server runs, each found by one check; real servers in their own processes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from openenv_cli.validation.check import Runner
from openenv_cli.validation.folder_checks import Folder
from openenv_cli.validation.image_checks import Image
from openenv_cli.validation.report import Level, Outcome
from openenv_cli.validation.run import CONTAINER_CHECKS
from openenv_cli.validation.server import Server
from openenv_cli.validation.server_checks import START_CHECKS

from tests.cli.validation.outcomes import Heard, check_of, edit, objections, validate

APP, MODELS, LOGIC = "server/app.py", "models.py", "server/walker_environment.py"
CREATE = 'create_app(Walker, Step, Place, env_name="walker")'
IMPORTS = "import sys\n"
RESET = "        self._state = State()\n        self._x"
STEP_MODEL = "class Step(Action):\n    direction: int = Field("
LENIENT_MODEL = """\
class Step(Action):
    model_config = {"extra": "allow", "json_schema_extra": {"additionalProperties": False}}
    direction: int = Field(0, """
INIT = """\
    def __init__(self):
        self._random = random.Random()
"""
LOCKING = """\
    def close(self):
        self.lock.unlink()

    def __init__(self):
        from pathlib import Path

        self.lock = Path(__file__).with_name("lock")
        self.lock.touch(exist_ok=False)
        self._random = random.Random()
"""
SEEDED = """\
    def reset(self, seed: int | None = None) -> Place:
        if seed is not None:
            self._random = random.Random(seed)
"""
MAIN_BLOCK = 'if __name__ == "__main__":\n    main()\n'
NOT_TRIED = {"files.lock": Outcome.WARNING, "mode.python_m": Outcome.WARNING}
STEP = "        self._state.step_count += 1\n"
LATE = """\
        Walker.steps = getattr(Walker, "steps", 0) + 1
        if Walker.steps > 150:
            return Place.model_construct(x=500)
"""

SEED_IT = "self._random = random.Random(seed)"
GLOBAL_RANDOM = """\
random.seed(seed)
        self._random = random"""
GLOBAL_COUNT = f"""\
        Walker.count = Walker.count + 1 if self._state.step_count else 1
        self._x = self._x // 2 + Walker.count % 7
{STEP}"""
CHANGED_FOLDER = f"""\
        import os, tempfile
        os.chdir(tempfile.mkdtemp())
        open("seed", "w").write(str(seed or 0))
        self._random.choice = lambda _: int(open("seed").read()) % 3
{RESET}"""
OVERLAPPING = f"""\
        import time
        Walker.busy = getattr(Walker, "busy", 0) + 1
        time.sleep(0.005)
        self._x += Walker.busy - 1
        Walker.busy -= 1
{STEP}"""

# The check, the file, what is replaced by what, and what the check says.
DEFECTS = [
    ("server.start", APP, IMPORTS, "import sys; sys.exit('no licence')\n", "no licence"),
    ("server.start", APP, IMPORTS, "import sys, no_such_package\n", "No module named 'no_such_package'"),
    ("server.start", APP, IMPORTS, "import sys; 1 / 0\n", "ZeroDivisionError: division by zero"),
    ("server.start", APP, IMPORTS, "import os, sys; os.write(1, b'\\n\\xff' * 9); os._exit(7)\n", "code 7"),
    ("server.start", APP, CREATE, CREATE.replace("Walker,", "Walker(),"), "an instance of Walker"),
    ("server.start", APP, CREATE, "object()", "no application named 'app'"),
    ("schemas.valid", MODELS, "ge=-1, le=1", "ge=-1, le=1, json_schema_extra={'type': 'digit'}", "digit"),
    ("session.reset", LOGIC, RESET, f"        raise OSError('no map')\n{RESET}", "OSError: no map"),
    ("session.reset", LOGIC, RESET, f"        import os; os._exit(3)\n{RESET}", ""),
    ("session.reset", LOGIC, RESET, f"        return None\n{RESET}", "returned NoneType"),
    ("session.reset", LOGIC, RESET, f"        return Place.model_construct(x=200)\n{RESET}", "x is 200"),
    ("session.step", LOGIC, STEP, f"        [][3]\n{STEP}", 'walker_environment.py", line 24, in step'),
    ("session.step", LOGIC, "return Place(x=self._x, r", "Place(x=self._x, r", "missing `return`"),
    ("session.step", LOGIC, STEP, f"{STEP}{LATE}", "x is 500, but its schema has maximum: 100"),
    ("session.step", LOGIC, STEP, f"        raise KeyError('door')\n{STEP}", "'door'"),
    ("session.step", LOGIC, STEP, f"        import os; os._exit(3)\n{STEP}", ""),
    ("session.step", LOGIC, STEP, f"        return Place.model_construct(x='far')\n{STEP}", "far"),
    ("session.state", LOGIC, "return self._state", "raise ValueError('no state')", "no state"),
    ("session.seed", LOGIC, "random.Random(seed)", "random.Random()", "seed 42 a second time in the same"),
    ("session.seed", LOGIC, SEEDED, "    def reset(self) -> Place:\n", "reset the parameter `seed"),
    ("session.bad_action", MODELS, STEP_MODEL, LENIENT_MODEL, "which its own schema does not allow"),
    ("session.isolation", LOGIC, SEED_IT, GLOBAL_RANDOM, "(in turns) differ at"),
    ("session.isolation", LOGIC, STEP, GLOBAL_COUNT, "(in turns) differ at step"),
    ("session.isolation", LOGIC, RESET, CHANGED_FOLDER, "(in turns) differ at step"),
    ("session.isolation", LOGIC, STEP, OVERLAPPING, "(at the same time) differ at step"),
    ("session.capacity", LOGIC, INIT, LOCKING, "With 1 session open, session 2 fails"),
    ("gymnasium.check_env", LOGIC, "seed: int | None = None", "seed: int", "argument: 'seed'"),
    ("mode.python_m", APP, "    import argparse\n", "    1 / 0\n", "ZeroDivisionError"),
]  # fmt: skip


@pytest.fixture
def walker(walker: Path) -> Path:
    """The valid folder without what takes long to try."""
    (walker / "uv.lock").unlink()
    return walker


def without_main_block(walker: Path) -> None:
    edit(walker / APP, (MAIN_BLOCK, ""))


@pytest.mark.parametrize(("check_id", "name", "old", "new", "said"), DEFECTS)
def test_a_defect_fails_exactly_its_check(
    walker: Path, check_id: str, name: str, old: str, new: str, said: str
) -> None:
    edit(walker / name, (old, new))
    if check_id != "mode.python_m":
        without_main_block(walker)
    report = validate(walker, Level.RUNTIME)
    failure = check_of(report, check_id)
    outcome = Outcome.WARNING if check_id.startswith("mode.") else Outcome.FAILED
    assert {**NOT_TRIED, **objections(report)} == {**NOT_TRIED, check_id: outcome}, failure.detail
    assert said in failure.detail + failure.fix
    assert failure.fix
    assert "Traceback" not in failure.detail.splitlines()[0]


@pytest.mark.integration
def test_the_good_folder_has_no_objection_but_for_what_was_not_tried(walker: Path) -> None:
    report = validate(walker, Level.RUNTIME)
    assert objections(report) == {"files.lock": Outcome.WARNING}
    assert {mode.name: mode.works for mode in report.modes} == {
        "openenv serve": True,
        "uv run server": None,
        "python -m": True,
        "docker": None,
    }
    assert len(report.left_out) == 1


def test_much_is_looked_at_and_the_report_says_how_much(walker: Path) -> None:
    without_main_block(walker)
    detail = check_of(validate(walker, Level.RUNTIME), "session.step").detail
    counts = re.match(r"(\d+) sampled actions in (\d+) episodes", detail)
    assert counts is not None, detail
    assert int(counts[1]) > 100
    assert int(counts[2]) > 1


def test_an_episode_that_differs_is_shown_as_the_observation_has_it(walker: Path) -> None:
    without_main_block(walker)
    edit(
        walker / MODELS,
        ("x: int = Field(ge=-100, le=100)", "x: int = 0\n    map: Literal['cave', 'island'] = 'cave'"),
    )
    edit(walker / MODELS, ("from pydantic", "from typing import Literal\n\nfrom pydantic"))
    maps = "map=('cave', 'island')[Walker.resets % 2]"
    edit(
        walker / LOGIC,
        (RESET, f'        Walker.resets = getattr(Walker, "resets", 0) + 1\n{RESET}'),
        ("Place(x=self._x)", f"Place(x=self._x, {maps})"),
    )
    detail = check_of(validate(walker, Level.RUNTIME), "session.seed").detail
    assert "observation.map is first 'cave', then 'island'" in detail or (
        "observation.map is first 'island', then 'cave'" in detail
    )


def test_an_environment_that_prints_as_it_is_imported_is_no_less_valid(walker: Path) -> None:
    without_main_block(walker)
    edit(walker / APP, (IMPORTS, "import sys; print('http://example.com', flush=True); print('Loading…')\n"))
    assert validate(walker, Level.RUNTIME).passed


def test_one_that_hangs_as_it_is_imported_fails_in_time(walker: Path) -> None:
    without_main_block(walker)
    edit(
        walker / APP,
        (IMPORTS, "import sys, time\nprint('waiting for the licence server')\ntime.sleep(600)\n"),
    )
    report = validate(walker, Level.RUNTIME, timeout_s=3)
    failure = check_of(report, "server.start")
    assert failure.outcome is Outcome.FAILED
    assert failure.duration_s < 6
    assert "not ready within 3 s" in failure.detail
    assert check_of(report, "session.step").outcome is Outcome.SKIPPED


@pytest.mark.slow
@pytest.mark.parametrize("where", ["reset", "step"])
def test_one_that_hangs_in_a_session_fails_in_time(walker: Path, where: str) -> None:
    without_main_block(walker)
    begin = {"reset": RESET, "step": STEP}[where]
    edit(walker / LOGIC, (begin, f"        import time; time.sleep(600)\n{begin}"))
    report = validate(walker, Level.RUNTIME, timeout_s=10)  # the server starts in it too, on a busy machine
    failure = check_of(report, f"session.{where}")
    assert failure.outcome is Outcome.FAILED
    assert "10 s" in failure.detail
    assert check_of(report, "session.seed").outcome is Outcome.SKIPPED
    assert report.duration_s < 60


@pytest.mark.slow
def test_one_that_outlives_its_end_is_a_warning(walker: Path) -> None:
    without_main_block(walker)
    edit(
        walker / APP,
        (IMPORTS, "import sys, threading\nthreading.Thread(target=threading.Event().wait).start()\n"),
    )
    report = validate(walker, Level.RUNTIME)
    assert check_of(report, "server.stop").outcome is Outcome.WARNING


def test_one_that_cannot_be_made_fails_where_it_is_first_made(walker: Path) -> None:
    without_main_block(walker)
    edit(
        walker / LOGIC, ("        self._random = random.Random()\n", "        raise OSError('no display')\n")
    )
    report = validate(walker, Level.RUNTIME)
    assert objections(report)["server.start"] is Outcome.FAILED
    detail = check_of(report, "server.start").detail
    assert "No environment can be made: Walker() failed at " in detail
    assert "walker_environment.py:13: OSError: no display" in detail
    assert "openenv_server/" not in detail


def test_no_image_is_built_of_what_does_not_start(walker: Path) -> None:
    edit(walker / APP, (IMPORTS, "import sys; 1 / 0\n"))
    folder, runner = Folder(walker), Runner(Heard())
    with Server(20, folder=walker) as server:
        runner.run(Level.RUNTIME, START_CHECKS, server)
    with Image(folder, 20) as image:
        runner.run(Level.CONTAINER, CONTAINER_CHECKS, image)
    in_image = [result for result in runner.results.values() if result.level is Level.CONTAINER]
    assert {(result.outcome, result.blocked_by) for result in in_image} == {(Outcome.SKIPPED, "server.start")}


def test_a_mode_that_does_not_work_says_why_in_its_line(walker: Path) -> None:
    edit(walker / APP, (IMPORTS, "import sys; 1 / 0\n"))
    reasons = {mode.name: mode.reason for mode in validate(walker, Level.RUNTIME).modes}
    assert reasons["openenv serve"].startswith("The server ended with exit code 2: Error: ")
    assert reasons["openenv serve"].endswith("ZeroDivisionError: division by zero")
    assert reasons["python -m"] == "Skipped because server.start did not pass"
    assert reasons["docker"] == "Not tried: the requested level is runtime"


def test_an_application_that_is_no_openenv_server_is_told_apart(walker: Path) -> None:
    edit(walker / APP, (CREATE, "__import__('fastapi').FastAPI()"))
    failure = check_of(validate(walker, Level.RUNTIME, timeout_s=10), "server.start")
    assert failure.outcome is Outcome.FAILED
    assert "404 to GET /health" in failure.detail


def test_a_module_that_does_nothing_where_it_is_run_is_a_warning(walker: Path) -> None:
    without_main_block(walker)
    report = validate(walker, Level.RUNTIME)
    assert objections(report)["mode.python_m"] is Outcome.WARNING
    assert report.passed


def test_a_server_that_listens_elsewhere_than_it_is_told_is_not_waited_for_long(walker: Path) -> None:
    edit(walker / APP, ("port=parser.parse_args().port", "port=0"))
    failure = check_of(validate(walker, Level.RUNTIME, timeout_s=10), "mode.python_m")
    assert failure.outcome is Outcome.WARNING
    assert "within 10 s" in failure.detail


def test_an_action_that_allows_everything_is_a_warning(walker: Path) -> None:
    without_main_block(walker)
    edit(
        walker / MODELS,
        ("class Step(Action):", "class Step(Action, extra='allow'):"),
        ("Field(ge=-1, le=1)", "0"),
    )
    edit(walker / MODELS, ("direction: int", "direction: object"))
    edit(walker / LOGIC, ("action.direction", "0"))
    report = validate(walker, Level.RUNTIME)
    assert check_of(report, "session.bad_action").outcome is Outcome.WARNING


def test_one_session_at_a_time_is_enough(walker: Path) -> None:
    edit(walker / LOGIC, ("SUPPORTS_CONCURRENT_SESSIONS = True", "SUPPORTS_CONCURRENT_SESSIONS = False"))
    report = validate(walker, Level.RUNTIME)
    assert objections(report) == {"files.lock": Outcome.WARNING}
    detail = check_of(report, "session.capacity").detail
    assert detail == "1 session at once, as GET /health reports; one more is refused"
