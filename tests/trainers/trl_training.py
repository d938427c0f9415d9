"""Trains with TRL on the environments of several servers: `trl_training.py '{"kitchen": URL, …}'`.

Prints for each environment, and for the recipe, the metrics of each step as JSON.
"""

from __future__ import annotations

import json
import random
import re
import sys
import tempfile
from collections.abc import Callable
from typing import Any

import torch
from datasets import Dataset
from trl import GRPOConfig, GRPOTrainer

from openenv_gym.integrations.trl import environment_factory, reward_func
from tests.trainers.recipes import recipes
from tests.trainers.tiny_model import save_tiny_model


def _call(tool: str, **arguments: Any) -> str:
    return f"<tool_call>\n{json.dumps({'name': tool, 'arguments': arguments})}\n</tool_call>"


def _cook(prompt: str) -> str:
    """Put something on the shelf, once without saying what."""
    calls = prompt.count("<tool_response>\n")
    if calls == 0:
        return _call("put", count=2)
    return "done" if calls > 1 else _call("put", item="egg", count=random.randint(1, 4))


def _chat(prompt: str) -> str:
    """Do what the user asks for, or not, until the conversation is over."""
    if "The episode has ended." in prompt:
        return "done"
    word = re.findall(r"the word (\w+)", prompt)[-1]
    return _call("step", content=random.choice([f"A {word}.", "Nothing."]))


def _walk(prompt: str) -> str:
    """Walk at random, for three steps or into a hole."""
    is_over = "The episode has ended." in prompt or prompt.count("<tool_response>\n") == 3
    return "done" if is_over else _call("step", action=random.randint(0, 3))


def _code(prompt: str) -> str:
    """Write a program: one that solves the task, one that does not, or one that fails; twice at most."""
    if "The episode has ended." in prompt or prompt.count("<tool_response>\n") == 2:
        return "done"
    number = re.findall(r"6 times (\d+)", prompt)[-1]
    return _call("step", code=random.choice([f"print(6 * {number})", f"print({number})", "1 / 0"]))


ANSWERS: dict[str, Callable[[str], str]] = {"kitchen": _cook, "chat": _chat, "lake": _walk, "coding": _code}
COLUMNS: dict[str, dict[str, Any]] = {
    "kitchen": {},
    "chat": {"task": ["word"] * 8, "system_prompt": ["Obey."] * 8},
    "lake": {},
    "coding": {
        "prompt": [[{"role": "user", "content": f"Print 6 times {number}. "}] for number in range(2, 10)],
        "expected_stdout": [str(6 * number) for number in range(2, 10)],
    },
}


def train(name: str, url: str, folder: str) -> list[dict[str, Any]]:
    """Train for two steps."""
    environment = environment_factory(url)
    seen: list[tuple[float, bool, str]] = []

    def length(environments: list[Any], completions: list[Any], **_: Any) -> list[float]:
        seen.extend((e.reward, e.done, json.dumps(c)) for e, c in zip(environments, completions, strict=True))
        return [0.01 * len(completion) for completion in completions]

    trainer = GRPOTrainer(
        model=folder,
        train_dataset=Dataset.from_dict(
            {
                "prompt": [[{"role": "user", "content": "Play. "}]] * 8,
                "seed": list(range(1, 9)),
                **COLUMNS[name],
            }
        ),
        reward_funcs=[reward_func, length],
        args=GRPOConfig(
            output_dir=folder,
            chat_template_kwargs={"enable_thinking": False},
            max_steps=2,
            logging_steps=1,
            num_generations=4,
            per_device_train_batch_size=8,
            max_completion_length=1500,
            learning_rate=0.01,
            report_to=[],
            use_cpu=True,
            save_strategy="no",
        ),
        environment_factory=environment,
    )
    before = [weights.clone() for weights in trainer.model.parameters()]
    trainer.train()
    environment.server.close()
    changed = any(
        not torch.equal(old, new) for old, new in zip(before, trainer.model.parameters(), strict=True)
    )
    logs = [entry for entry in trainer.state.log_history if "reward" in entry]
    return [*logs, {"changed": changed, "seen": seen}]


def run_recipe(folder: str) -> Any:
    """Run the recipe, with the tiny model and for two steps; return what it logs."""
    (code,) = recipes("trl.md")
    for old, new in (
        ("Qwen/Qwen3-0.6B", folder),
        ('"checkpoints", max_steps=100,', f"{folder!r}, max_steps=2, logging_steps=1, use_cpu=True,"),
    ):
        assert old in code
        code = code.replace(old, new)
    space: dict[str, Any] = {}
    exec(code, space)
    return [entry for entry in space["trainer"].state.log_history if "reward" in entry]


def main(urls: dict[str, str]) -> None:
    """Train on each."""
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, url in urls.items():
            random.seed(1)
            save_tiny_model(folder, ANSWERS[name])
            found[name] = train(name, url, folder)
        save_tiny_model(folder, _cook)
        found["recipe"] = run_recipe(folder)
    print(json.dumps(found))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
