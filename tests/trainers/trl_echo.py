"""The smallest example of TRL's documentation for OpenEnv, with a model that is made here: `trl_echo.py URL`.

Prints the metrics of each step as JSON.
"""

from __future__ import annotations

import json
import random
import sys
import tempfile
from typing import Any

from datasets import Dataset
from trl import GRPOConfig, GRPOTrainer

from openenv.core.client_types import StepResult
from openenv.core.env_client import EnvClient
from openenv.core.env_server.types import Action, Observation, State
from tests.trainers.tiny_model import save_tiny_model


class EchoAction(Action):
    message: str


class EchoObservation(Observation):
    echoed_message: str
    message_length: int = 0


class EchoEnv(EnvClient[EchoAction, EchoObservation, State]):
    """The environment's own client."""

    def _step_payload(self, action: EchoAction) -> dict[str, Any]:
        return {"message": action.message}

    def _parse_result(self, payload: dict[str, Any]) -> StepResult[EchoObservation]:
        fields = payload.get("observation", {})
        observation = EchoObservation(
            echoed_message=fields.get("echoed_message", ""),
            message_length=fields.get("message_length", 0),
            done=payload.get("done", False),
            reward=payload.get("reward"),
        )
        return StepResult(observation=observation, reward=observation.reward, done=observation.done)

    def _parse_state(self, payload: dict[str, Any]) -> State:
        return State(episode_id=payload.get("episode_id"), step_count=payload.get("step_count", 0))


def answer(prompt: str) -> str:
    """Call the tool, and then be done."""
    call = {"name": "echo", "arguments": {"message": ("echo " * random.randint(1, 4)).strip()}}
    return "done" if "<tool_response>\n" in prompt else f"<tool_call>\n{json.dumps(call)}\n</tool_call>"


def main(base_url: str) -> None:
    """Train for two steps, and print the metrics of the last."""
    random.seed(1)

    class EchoToolEnv:
        def __init__(self) -> None:
            self.env = EchoEnv(base_url=base_url)
            self.reward = 0.0

        def reset(self, **kwargs: Any) -> str | None:
            self.reward = 0.0
            return None

        def echo(self, message: str) -> str:
            """
            Echo the message back from the environment.

            Args:
                message: The message to echo

            Returns:
                The echoed message.
            """
            result = self.env.step(EchoAction(message=message))
            self.reward = result.observation.reward
            return result.observation.echoed_message

    def reward_func(environments: list[EchoToolEnv], **kwargs: Any) -> list[float]:
        return [environment.reward for environment in environments]

    with tempfile.TemporaryDirectory() as folder:
        save_tiny_model(folder, answer)
        trainer = GRPOTrainer(
            model=folder,
            train_dataset=Dataset.from_dict({"prompt": [[{"role": "user", "content": "Echo 'Hello!'"}]] * 8}),
            reward_funcs=reward_func,
            args=GRPOConfig(
                output_dir=folder,
                chat_template_kwargs={"enable_thinking": False},
                max_steps=2,
                logging_steps=1,
                num_generations=4,
                per_device_train_batch_size=4,
                max_completion_length=256,
                report_to=[],
                use_cpu=True,
                save_strategy="no",
            ),
            environment_factory=EchoToolEnv,
        )
        trainer.train()
        logs = [entry for entry in trainer.state.log_history if "reward" in entry]
        print(json.dumps(logs))


if __name__ == "__main__":
    main(sys.argv[1])
