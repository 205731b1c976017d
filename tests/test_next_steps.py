"""The commands printed at the end of a run."""

from __future__ import annotations

from pathlib import Path

import pytest

from workflow.reporting.next_steps import CONTAINER_VARIABLE, next_steps, task_graph_address

LOG = Path("/srv/data/runs/songs/1.log")


def commands(user_id: str = "it's me") -> list[str]:
    return [line.strip().split("   ")[0] for line in next_steps("songs", user_id, LOG)]


def test_checkout_gets_make_targets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(CONTAINER_VARIABLE, raising=False)
    recommend = """make recommend ID='it'"'"'s me' DATASET=songs"""
    assert commands() == ["make serve", recommend, "make luigid", str(LOG)]
    assert task_graph_address("http://etl:9000") == "http://etl:9000/"


@pytest.mark.parametrize("container", ["docker", "compose"])
def test_container_gets_no_make_target_and_no_host_inside_the_network(
    monkeypatch: pytest.MonkeyPatch, container: str
) -> None:
    monkeypatch.setenv(CONTAINER_VARIABLE, container)
    text = "\n".join(commands())
    assert "make" not in text
    assert "luigid" not in text
    assert """recommend --dataset songs 'it'"'"'s me'""" in text
    assert "recommend --dataset songs -- -7" in "\n".join(commands("-7"))


def test_compose_publishes_the_page_of_luigid(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CONTAINER_VARIABLE, "compose")
    assert task_graph_address("http://luigid:8082") == "http://127.0.0.1:8082/"
