from chat_env import ChatAction
from chat_env.server.chat_environment import (
    TURNS,
    ChatEnvironment,
)


def test_a_reply_with_the_word_earns_one() -> None:
    environment = ChatEnvironment()
    asked = environment.reset(seed=7).messages[-1]
    assert asked.role == "user"
    answer = environment.step(ChatAction(content=f"You said: {asked.content}"))
    assert answer.reward == 1.0
    assert [message.role for message in answer.messages] == ["system", "user", "assistant", "user"]
    assert environment.step(ChatAction(content="No.")).reward == 0.0


def test_the_seed_decides_the_words_and_an_episode_ends() -> None:
    conversations = []
    for _ in range(2):
        environment = ChatEnvironment()
        environment.reset(seed=3)
        answers = [environment.step(ChatAction(content="Yes.")) for _ in range(TURNS)]
        assert [answer.done for answer in answers] == [False] * (TURNS - 1) + [True]
        conversations.append(answers[-1].messages)
    assert conversations[0] == conversations[1]
