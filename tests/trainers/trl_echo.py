"""The smallest example of TRL's documentation for OpenEnv, with a model that is made here: `trl_echo.py URL`.

Prints the metrics of each step as JSON. The model is tiny and random, but for what it generates: a call of
the tool, and "done" after the answer.
"""

from __future__ import annotations

import json
import random
import sys
import tempfile
from typing import Any

import torch
from datasets import Dataset
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM
from trl import GRPOConfig, GRPOTrainer
from trl.chat_template_utils import qwen3_chat_template

from openenv.core.client_types import StepResult
from openenv.core.env_client import EnvClient
from openenv.core.env_server.types import Action, Observation, State


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


def make_tokenizer() -> PreTrainedTokenizerFast:
    """A token for each byte, and Qwen's special ones."""
    special = [
        "<|endoftext|>",
        "<|im_start|>",
        "<|im_end|>",
        "<think>",
        "</think>",
        "<tool_call>",
        "</tool_call>",
    ]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({byte: place for place, byte in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(special[:3])
    tokenizer.add_tokens(special[3:])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        chat_template=qwen3_chat_template,
    )


class EchoModel(Qwen3ForCausalLM):
    """Its weights are random; what it generates is a call of the tool, or "done" after its answer."""

    tokenizer: PreTrainedTokenizerFast

    def generate(self, input_ids: torch.Tensor, **_: Any) -> torch.Tensor:
        said = []
        for prompt in self.tokenizer.batch_decode(input_ids):
            words = "echo " * random.randint(1, 4)
            call = json.dumps({"name": "echo", "arguments": {"message": words.strip()}})
            answered = "<tool_response>\n" in prompt
            said.append(("done" if answered else f"<tool_call>\n{call}\n</tool_call>") + "<|im_end|>")
        completions = self.tokenizer(said, padding=True, padding_side="right", return_tensors="pt")[
            "input_ids"
        ]
        return torch.cat([input_ids, completions], dim=1)


def main(base_url: str) -> None:
    """Train for two steps, and print the metrics of the last."""
    random.seed(1)
    torch.manual_seed(1)
    tokenizer = make_tokenizer()
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "head_dim": 8}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 1}
    model = EchoModel(Qwen3Config(vocab_size=len(tokenizer), **sizes, **heads))
    EchoModel.tokenizer = tokenizer

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
        trainer = GRPOTrainer(
            model=model,
            processing_class=tokenizer,
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
