import random
import re

import pytest
from jinja2.sandbox import ImmutableSandboxedEnvironment

from chat_env import ChatAction
from chat_env.models import ChatMessage, ChatObservation
from chat_env.server.chat_environment import (
    REQUESTS,
    REWARDS,
    SYSTEM_PROMPT,
    ChatEnvironment,
)
from chat_env.server.requests import TASKS, draw

# As in the tokenizer settings of chat models.
CHATML = (
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n'}}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)


def reply_to(message: ChatMessage) -> str:
    """The reply that the user asked for."""
    numbers = [int(number) for number in re.findall(r"\d+", message.content)]
    if "plus" in message.content:
        return str(sum(numbers))
    if "exactly" in message.content:
        return " ".join(["yes"] * numbers[0])
    return f"Here is the {message.content.split()[-1]}"


def test_good_replies_earn_the_full_reward() -> None:
    environment = ChatEnvironment()
    observation = environment.reset(seed=7)
    assert [message.role for message in observation.messages] == ["system", "user"]
    assert observation.messages[0].content == SYSTEM_PROMPT
    rewards = []
    while not observation.done:
        observation = environment.step(ChatAction(content=reply_to(observation.messages[-1])))
        rewards.append(observation.reward)
    assert rewards == [1.0] * REQUESTS
    assert [message.role for message in observation.messages] == ["system"] + ["user", "assistant"] * REQUESTS


def test_a_second_attempt_earns_less_and_is_the_last() -> None:
    environment = ChatEnvironment()
    asked = environment.reset(seed=7, task="sum").messages[-1]
    again = environment.step(ChatAction(content="I do not know."))
    assert (again.reward, again.messages[-1].content) == (
        0.0,
        f"That is not what I asked for. {asked.content}",
    )
    assert environment.step(ChatAction(content=reply_to(asked))).reward == REWARDS[1]
    environment.step(ChatAction(content=""))
    after = environment.step(ChatAction(content=""))
    assert after.messages[-1].content.startswith("Never mind. What is ")


def test_the_longest_episode_fits_the_observation() -> None:
    environment = ChatEnvironment()
    observation = environment.reset(seed=1)
    while not observation.done:
        observation = environment.step(ChatAction(content="x" * 2000))
    assert environment.state.step_count == REQUESTS * len(REWARDS)
    ChatObservation.model_validate(observation.model_dump())
    with pytest.raises(RuntimeError, match="is over"):
        environment.step(ChatAction(content="More?"))


def test_the_seed_determines_the_requests() -> None:
    conversations = []
    for seed in (3, 3, 4):
        environment = ChatEnvironment()
        environment.reset(seed=seed)
        conversations.append([environment.step(ChatAction(content="No.")).messages for _ in range(6)])
    assert conversations[0] == conversations[1] != conversations[2]


@pytest.mark.parametrize("task", TASKS)
def test_only_a_good_reply_meets_a_request(task: str) -> None:
    chance = random.Random(1)
    for _ in range(20):
        request = draw(task, chance)
        assert request.is_met(reply_to(ChatMessage(role="user", content=request.text)))
        assert not request.is_met("I would rather not say anything about it, and so I will not.")


def test_the_client_sets_up_the_conversation() -> None:
    environment = ChatEnvironment()
    observation = environment.reset(system_prompt="Be brief.", task="length")
    assert observation.messages[0].content == "Be brief."
    assert "exactly" in observation.messages[1].content
    assert [message.role for message in environment.reset(system_prompt="").messages] == ["user"]
    with pytest.raises(ValueError, match="Unknown task 'poem'. Choose one of word, length, sum, mixed"):
        environment.reset(task="poem")
    with pytest.raises(TypeError, match="Unknown options of reset: tasks"):
        environment.reset(tasks="word")


def test_a_chat_template_takes_the_messages_as_they_are() -> None:
    environment = ChatEnvironment()
    environment.reset(seed=7, task="sum")
    messages = environment.step(ChatAction(content="Ä {{ 1 }}")).model_dump()["messages"]
    # Tokenizers render their templates in this kind of environment.
    template = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True).from_string(CHATML)
    text = template.render(messages=messages, add_generation_prompt=True)
    assert text.startswith(f"<|im_start|>system\n{SYSTEM_PROMPT}<|im_end|>\n<|im_start|>user\nWhat is ")
    assert "<|im_start|>assistant\nÄ {{ 1 }}<|im_end|>\n" in text
    assert text.endswith("<|im_end|>\n<|im_start|>assistant\n")
    assert all(set(message) == {"role", "content"} for message in messages)
