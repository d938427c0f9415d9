"""What Docker writes and what it reads: a build's lines, and Dockerfiles."""

from __future__ import annotations

import pytest
from openenv_cli.docker.build_output import BuildOutput
from openenv_cli.docker.dockerfile import (
    base_images,
    declared_arguments,
    final_stage,
    read_dockerfile,
)
from openenv_cli.docker.environment import default_tag


@pytest.mark.parametrize(
    ("dockerfile", "build_args", "images"),
    [
        ("FROM openenv-base:latest", {}, {"openenv-base:latest"}),
        ("# FROM no\nfrom --platform=linux/amd64 a AS b\nFROM b\nFROM B as c\nfrom c", {}, {"a"}),
        ("ARG X=a\nFROM ${X}:1\nARG Y=b\nFROM $X", {}, {"a:1", "a"}),
        ("ARG X=a\nFROM ${X}", {"X": "b"}, {"b"}),
        ('ARG X="a"\nARG Y=${X}-slim\nFROM ${Y}', {}, {"a-slim"}),
        ("FROM ${X:-a}", {}, {"a"}),
        ("FROM \\\n  # a comment between\n  a \\\n  AS b\nFROM b", {}, {"a"}),
        ("FROM a\nRUN python <<EOF\nfrom x import y\nEOF\nCOPY <<'E' /f\nFROM z\nE", {}, {"a"}),
        ("FROM\ta", {}, {"a"}),
    ],
)
def test_the_images_that_a_dockerfile_starts_from(
    dockerfile: str, build_args: dict[str, str], images: set[str]
) -> None:
    assert base_images(read_dockerfile(dockerfile), build_args) == images


def test_the_arguments_that_a_dockerfile_takes() -> None:
    assert declared_arguments(read_dockerfile("ARG A=1\nFROM a\nARG B C=2\nRUN echo ARG D")) == {
        "A",
        "B",
        "C",
    }


def test_a_dockerfile_is_read_with_its_comments_continuations_and_heredocs() -> None:
    text = """\
# syntax=docker/dockerfile:1
FROM a AS first
RUN one \\
    # in between

    && two
RUN <<END
USER nobody
END
COPY --chown=1:1 ["a b", "/d"]
FROM first
cmd x"""
    instructions = read_dockerfile(text)
    assert [(said.line, said.name) for said in instructions] == [
        (2, "FROM"), (3, "RUN"), (7, "RUN"), (10, "COPY"), (11, "FROM"), (12, "CMD"),
    ]  # fmt: skip
    assert instructions[1].arguments == "one && two"
    assert instructions[3].words == ["a b", "/d"]


def test_a_stage_has_what_the_stage_has_that_it_is_made_from() -> None:
    text = "ARG B=base\nFROM x AS base\nUSER a\nFROM y AS other\nUSER b\nFROM ${B}\nCMD run\n"
    assert [said.arguments for said in final_stage(read_dockerfile(text))]== [
        "x AS base", "a", "${B}", "run",
    ]  # fmt: skip


def test_the_default_tag_has_hyphens_and_small_letters() -> None:
    assert default_tag("My_grid_env") == "openenv-my-grid-env"


def cause(lines: str) -> str:
    output = BuildOutput()
    for line in lines.splitlines():
        output.feed(line)
    return output.cause()


def test_a_steps_last_lines_are_the_cause_however_steps_are_mixed() -> None:
    assert (
        cause(
            "#7 [a 2/3] RUN   make\n"
            "#8 [b 2/3] RUN other\n"
            "#7 0.412 \x1b[31mno rule\x1b[0m\n"
            "#8 0.5 fine\n"
            "#7 0.413 \n"
            "#8 CANCELED\n"
            '#7 ERROR: process "/bin/sh -c make" did not complete successfully: exit code: 2\n'
            "------\n > [a 2/3] RUN make:\n0.412 no rule\n------\n"
            "ERROR: failed to build: failed to solve: process did not complete successfully: exit code: 2\n"
        )
        == "[a 2/3] RUN make failed: exit code 2\n    no rule\n    "
    )


@pytest.mark.parametrize(
    "prefix",
    [
        "failed to solve with frontend dockerfile.v0: failed to create LLB definition: ",
        "ERROR: failed to solve: ",
        "ERROR: failed to build: failed to solve: ",
    ],
)
def test_what_is_no_steps_fault_is_said_without_the_builders_own_words(prefix: str) -> None:
    said = cause(f"#1 [internal] load build definition\n#1 DONE 0.0s\n{prefix}unknown instruction: FLY\n")
    assert said == "unknown instruction: FLY"
