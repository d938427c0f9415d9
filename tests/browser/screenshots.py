"""Take screenshots of the playground: python -m tests.browser.screenshots FOLDER [SCENE …].

Each scene is taken on a desktop and on a phone, light and dark. ``--docs`` takes the three of ``docs/``.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image
from playwright.sync_api import sync_playwright

from openenv_gym.generic_client import GenericEnvClient
from tests.browser.conftest import CHROMIUM, DESKTOP, PHONE, Playground
from tests.support.processes import serving

DOCS = Path(__file__).parents[2] / "docs"
CARTPOLE = ("--gym", "CartPole-v1", "--gym-kwarg", "render_mode=rgb_array")
_PALETTE = 128


class Scene(NamedTuple):
    """What a screenshot shows: a server, and what is done on its page."""

    server: tuple[str, ...]
    play: Callable[[Playground, str], None]


def cartpole(playground: Playground, url: str) -> None:
    playground.reset(seed=3)
    for key in "1010110010":
        steps = int(playground.figures["steps"])
        playground.page.keyboard.press(key)
        playground.wait_for_step(steps + 1)


def ended(playground: Playground, url: str) -> None:
    playground.reset(seed=3)
    playground.open_settings()
    playground.page.fill("#pg-speed input[type=number]", "20")
    playground.page.keyboard.press("Tab")
    playground.page.click("#pg-autoplay")
    playground.wait_for_status("Terminated")
    playground.page.click("#pg-history > button")


def grid_world(playground: Playground, url: str) -> None:
    playground.reset(seed=1)
    for step, key in enumerate(("ArrowDown", "ArrowRight", "ArrowDown"), 1):
        playground.page.keyboard.press(key)
        playground.wait_for_step(step)


def echo(playground: Playground, url: str) -> None:
    playground.reset()
    playground.step('{"message": "Hello there"}')
    playground.wait_for_step(1)


def chat(playground: Playground, url: str) -> None:
    playground.reset(seed=1)
    playground.step('{"content": "Here you are."}')
    playground.wait_for_step(1)


def coding(playground: Playground, url: str) -> None:
    playground.reset()
    playground.step('{"code": "for n in range(3):\\n    print(n, n**2)\\n1 / 0", "stdin": ""}')
    playground.wait_for_step(1)


def tools(playground: Playground, url: str) -> None:
    playground.reset()
    arguments = '{"item": "egg", "count": 3}'
    playground.step(f'{{"type": "call_tool", "tool_name": "put", "arguments": {arguments}}}')
    playground.wait_for_step(1)


def arrays(playground: Playground, url: str) -> None:
    playground.reset(seed=1)
    for step in (1, 2):
        playground.page.click("#openenv-sample")
        playground.page.wait_for_timeout(500)
        playground.step()
        playground.wait_for_step(step)


def every(playground: Playground, url: str) -> None:
    playground.reset()
    playground.page.click("#openenv-sample")
    playground.page.wait_for_timeout(1000)
    playground.step()
    playground.wait_for_step(1)


def invalid(playground: Playground, url: str) -> None:
    playground.reset()
    playground.step('{"amount": 12, "note": ""}')
    playground.page.wait_for_selector(".openenv-error")


def raised(playground: Playground, url: str) -> None:
    playground.reset()
    playground.step('{"amount": 9, "note": ""}')
    playground.page.wait_for_selector(".pg-problem")


def full(playground: Playground, url: str) -> None:
    with GenericEnvClient(base_url=url) as client:
        client.reset()
        playground.page.click("#pg-reset")
        playground.page.wait_for_selector(".pg-problem")


def nothing(playground: Playground, url: str) -> None:
    """Not started."""


def tab(name: str) -> Callable[[Playground, str], None]:
    def open_tab(playground: Playground, url: str) -> None:
        playground.reset(seed=3)
        if not playground.page.get_by_role("tab", name=name, exact=True).first.is_visible():
            playground.page.click(".overflow-menu > button")
            playground.page.locator(".overflow-dropdown button", has_text=name).click()
        else:
            playground.open_tab(name)
        playground.page.wait_for_timeout(1500)

    return open_tab


_COUNTER = ("--app", "tests.browser.counting:app", "--max-sessions", "1")
_TABS = ("State", "Spaces", "Schemas", "README", "Health", "Code")
SCENES = {
    "cartpole": Scene(CARTPOLE, cartpole),
    "ended": Scene(CARTPOLE, ended),
    "grid_world": Scene(("envs/grid_world_env",), grid_world),
    "echo": Scene(("envs/echo_env",), echo),
    "chat": Scene(("envs/chat_env",), chat),
    "coding": Scene(("envs/coding_env",), coding),
    "tools": Scene(("--app", "tests.browser.kinds:tools"), tools),
    "arrays": Scene(("--app", "tests.browser.kinds:arrays"), arrays),
    "every": Scene(("--app", "tests.browser.kinds:every"), every),
    "invalid": Scene(_COUNTER, invalid),
    "raised": Scene(_COUNTER, raised),
    "full": Scene(_COUNTER, full),
    "start": Scene(_COUNTER, nothing),
    **{name.lower(): Scene(("envs/grid_world_env",), tab(name)) for name in _TABS},
}
SCREENS = {
    "desktop": {"viewport": DESKTOP},
    "phone": {"viewport": PHONE, "is_mobile": True, "has_touch": True},
}
# The files in docs/: a scene, a screen and a colour scheme.
IN_DOCS = {
    "playground.png": ("cartpole", "desktop", "light"),
    "playground-phone.png": ("grid_world", "phone", "dark"),
    "playground-form.png": ("tools", "desktop", "light"),
}


def take(shots: dict[Path, tuple[str, str, str]], *, cuts_phone: bool = False) -> None:
    """Take screenshots of whole pages.

    Args:
        shots: The scene, the screen and the colour scheme of each file.
        cuts_phone: Whether those of a phone show only what fits its screen.
    """
    with ExitStack() as stack:
        browser = stack.enter_context(sync_playwright()).chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox"]
        )
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        servers: dict[tuple[str, ...], str] = {}
        for file, (scene, screen, scheme) in shots.items():
            server, play = SCENES[scene]
            if server not in servers:
                servers[server] = stack.enter_context(serving(folder / "closed", *server)).base_url
            options: dict[str, Any] = {**SCREENS[screen], "color_scheme": scheme}
            context = browser.new_context(**options)
            playground = Playground(context, f"{servers[server]}/web").wait()
            play(playground, servers[server])
            playground.page.wait_for_timeout(500)  # for what moves
            playground.page.evaluate("scrollTo(0, 0)")
            playground.page.screenshot(path=file, full_page=not cuts_phone or screen != "phone")
            context.close()
            print(file, flush=True)
        browser.close()


def main() -> None:
    """Take the screenshots of scenes, or those of the documentation."""
    parser = argparse.ArgumentParser(prog="python -m tests.browser.screenshots", description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("scenes", nargs="*", default=[])
    parser.add_argument("--docs", action="store_true")
    arguments = parser.parse_args()
    if arguments.docs:
        take({DOCS / name: shot for name, shot in IN_DOCS.items()}, cuts_phone=True)
        for name in IN_DOCS:
            picture = Image.open(DOCS / name).convert("RGB").quantize(_PALETTE)
            picture.save(DOCS / name, optimize=True)
        return
    arguments.folder.mkdir(parents=True, exist_ok=True)
    take(
        {
            arguments.folder / f"{scene}-{screen}-{scheme}.png": (scene, screen, scheme)
            for scene in arguments.scenes or SCENES
            for screen in SCREENS
            for scheme in ("light", "dark")
        }
    )


if __name__ == "__main__":
    main()
