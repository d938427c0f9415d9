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

# As models for conversations have it in their tokenizer's settings.
CHATML = (
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n'}}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)


def reply_to(message: ChatMessage) -> str:
    """What the user wants to hear."""
    numbers = [int(number) for number in re.findall(r"\d+", message.content)]
    if "plus" in message.content:
        return str(sum(numbers))
    if "exactly" in message.content:
        return " ".join(["yes"] * numbers[0])
    return f"Here is the {message.content.split()[-1]}"


def test_an_episode_of_good_replies_earns_all() -> None:
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


def test_a_second_attempt_earns_less_and_there_is_no_third() -> None:
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


def test_the_seed_decides_what_is_asked_for() -> None:
    conversations = []
    for seed in (3, 3, 4):
        environment = ChatEnvironment()
        environment.reset(seed=seed)
        conversations.append([environment.step(ChatAction(content="No.")).messages for _ in range(6)])
    assert conversations[0] == conversations[1] != conversations[2]


@pytest.mark.parametrize("task", TASKS)
def test_each_request_is_met_by_a_good_reply_and_by_no_other(task: str) -> None:
    chance = random.Random(1)
    for _ in range(20):
        request = draw(task, chance)
        assert request.is_met(reply_to(ChatMessage(role="user", content=request.text)))
        assert not request.is_met("I would rather not say anything about it, and so I will not.")


def test_the_conversation_is_the_clients_to_set_up() -> None:
    environment = ChatEnvironment()
    observation = environment.reset(system_prompt="Be brief.", task="length")
    assert observation.messages[0].content == "Be brief."
    assert "exactly" in observation.messages[1].content
    assert [message.role for message in environment.reset(system_prompt="").messages] == ["user"]
    with pytest.raises(ValueError, match="one of word, length, sum, mixed, not 'poem'"):
        environment.reset(task="poem")
    with pytest.raises(TypeError, match="system_prompt and task, not tasks"):
        environment.reset(tasks="word")


def test_a_chat_template_takes_the_messages_as_they_are() -> None:
    environment = ChatEnvironment()
    environment.reset(seed=7, task="sum")
    messages = environment.step(ChatAction(content="Ä {{ 1 }}")).model_dump()["messages"]
    # The kind of environment in which tokenizers render their templates.
    template = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True).from_string(CHATML)
    text = template.render(messages=messages, add_generation_prompt=True)
    assert text.startswith(f"<|im_start|>system\n{SYSTEM_PROMPT}<|im_end|>\n<|im_start|>user\nWhat is ")
    assert "<|im_start|>assistant\nÄ {{ 1 }}<|im_end|>\n" in text
    assert text.endswith("<|im_end|>\n<|im_start|>assistant\n")
    assert all(set(message) == {"role", "content"} for message in messages)
