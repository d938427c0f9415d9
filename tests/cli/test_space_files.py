"""The README and the Dockerfile that a Space gets."""

from __future__ import annotations

import pytest
import yaml
from openenv_cli.docker.dockerfile import base_images, read_dockerfile
from openenv_cli.hub.space_files import complete_card, with_base, with_base_inside, with_interface

from openenv_gym.errors import ConfigurationError

BASE = "# Base\nARG P=python:3\nFROM ${P}\nRUN true\n"


def card_of(readme: str) -> dict[str, object]:
    return yaml.safe_load(complete(readme).split("---\n")[1])


def complete(readme: str) -> str:
    return complete_card(readme, title="My Env", port=9000, has_interface=True)


def test_a_readme_without_a_card_gets_one_and_keeps_its_text() -> None:
    completed = complete("# My env\n\n---\n\nA rule above.\n")
    assert completed.endswith("---\n\n# My env\n\n---\n\nA rule above.\n")
    assert card_of("") == card_of("# My env\n")
    assert card_of("")["app_port"] == 9000


def test_what_is_in_a_card_is_kept_and_completing_again_changes_nothing() -> None:
    readme = "---\n# a comment\ntitle: 'Éà 🎲'\napp_port: 8000\nextra: {a: 1}\n---\ntext\n"
    completed = complete(readme)
    assert "# a comment\ntitle: 'Éà 🎲'\napp_port: 8000\nextra: {a: 1}\n" in completed
    assert completed.endswith("---\ntext\n")
    assert complete(completed) == completed


@pytest.mark.parametrize(
    "tags", ["tags:\n- game\n- llm\n", "tags: [game, llm]\n", "tags:\n  - game\n  - llm # x\n"]
)
def test_openenv_joins_the_tags_and_the_kind_becomes_docker(tags: str) -> None:
    card = card_of(f"---\nsdk: gradio\n{tags}pinned: true\n---\n")
    assert card["tags"] == ["game", "llm", "openenv"]
    assert card["sdk"] == "docker"
    assert card["pinned"] is True


def test_empty_tags_and_an_empty_card_are_completed() -> None:
    assert card_of("---\ntags:\nlicense: mit\n---\n")["tags"] == ["openenv"]
    assert card_of("---\n---\ntext")["sdk"] == "docker"


@pytest.mark.parametrize("card", ["[a, b]\n", "a: [\n"])
def test_a_card_that_is_no_table_is_refused(card: str) -> None:
    with pytest.raises(ConfigurationError, match=r"front matter of README\.md"):
        complete(f"---\n{card}---\n")


def test_the_stages_that_share_the_last_ones_image_follow_it_and_others_stay() -> None:
    text = (
        "ARG BASE=openenv-base\nFROM node:22 AS web\nFROM --platform=linux/amd64 ${BASE} AS builder\n"
        "FROM ${BASE} as base\nfrom base\nCOPY --from=web /a /b\n"
    )
    assert with_base(text, "new:1") == (
        "ARG BASE=openenv-base\nFROM node:22 AS web\nFROM --platform=linux/amd64 new:1 AS builder\n"
        "FROM new:1 as base\nfrom base\nCOPY --from=web /a /b\n"
    )
    with pytest.raises(ConfigurationError, match="no FROM"):
        with_base("RUN true\n", "new:1")


@pytest.mark.parametrize(
    ("text", "is_local"),
    [
        ("FROM openenv-base\n", True),
        ("FROM openenv-base:latest AS a\n", True),
        ("ARG B=openenv-base:0.1\nFROM $B\n", True),
        ('ARG B="openenv-base:latest"\nFROM ${B}\n', True),
        ("FROM ${B:-openenv-base:latest}\n", True),
        ("ARG T=latest\nFROM openenv-base:${T}\n", True),
        ("FROM ghcr.io/meta-pytorch/openenv-base:latest\n", False),
        ("ARG B=python:3.12\nFROM $B\nARG B=openenv-base\n", False),
    ],
)
def test_the_local_base_becomes_a_stage_wherever_it_is_named(text: str, is_local: bool) -> None:
    changed, was_local = with_base_inside(text, BASE)
    assert was_local is is_local
    images = base_images(read_dockerfile(changed), {})
    assert ("python:3" in images) is is_local
    assert is_local or changed == text


def test_the_stage_of_the_base_comes_after_the_arguments_for_all_stages() -> None:
    text = (
        "# syntax=docker/dockerfile:1\nARG T=1\nARG B=openenv-base\nFROM \\\n  # no: ${B}\n  ${B} AS a\n"
        "RUN cat <<E\nFROM openenv-base\nE\nFROM other:${T}\nCOPY --from=a /x /x\n"
    )
    assert with_base_inside(text, BASE)[0] == (
        "# syntax=docker/dockerfile:1\nARG T=1\nARG B=openenv-base\n"
        "# Base\nARG P=python:3\nFROM ${P} AS openenv-base\nRUN true\n\n"
        "FROM \\\n  # no: ${B}\n  openenv-base AS a\n"
        "RUN cat <<E\nFROM openenv-base\nE\nFROM other:${T}\nCOPY --from=a /x /x\n"
    )


def test_the_interfaces_variable_comes_last() -> None:
    text = "FROM a\nENV ENABLE_WEB_INTERFACE=true"
    assert with_interface(text, False).splitlines()[-1] == "ENV ENABLE_WEB_INTERFACE=false"


def test_an_image_with_the_interface_installs_what_it_needs() -> None:
    text = "ARG ENABLE_WEB_INTERFACE=false\nFROM a\nARG ENABLE_WEB_INTERFACE\nRUN b\n"
    lines = with_interface(text, True).splitlines()
    assert lines[0] == "ARG ENABLE_WEB_INTERFACE=true"
    assert lines[2] == "ARG ENABLE_WEB_INTERFACE"
