"""The drawing of a run."""

from __future__ import annotations

import itertools
import re
from dataclasses import replace
from xml.etree import ElementTree

from pipeline import Ran, Roots

from config.graph import STYLE, critical_path, draw
from config.runs import Run, StageRun, find_run

SVG = "{http://www.w3.org/2000/svg}"


def run_of(*steps: StageRun, dataset: str = "tiny") -> Run:
    return Run("r1", dataset, None, "failed", 3.2, None, steps, {}, {})


def boxes(svg: str) -> dict[str, tuple[float, float, float, float]]:
    """Left, top, right and bottom of every stage's box, by its label."""
    found = {}
    for group in ElementTree.fromstring(svg).iter(f"{SVG}g"):
        title, box = group.find(f"{SVG}title"), group.find(f"{SVG}rect")
        assert title is not None and title.text is not None and box is not None
        x, y, width, height = (float(box.attrib[name]) for name in ("x", "y", "width", "height"))
        found[title.text.partition(":")[0]] = (x, y, x + width, y + height)
    return found


def points(svg: str) -> list[list[tuple[float, float]]]:
    """Points along every arrow: the corners of its lines, and what lies between."""
    arrows = []
    for path in re.findall(r'<path class="edge[^"]*" d="([^"]+)"', svg):
        here, way = (0.0, 0.0), []
        for letter, numbers in re.findall(r"([MHVCQ])([^MHVCQ]*)", path):
            given = [float(number) for number in numbers.split()]
            x, y = here
            end = {"H": (given[0], y), "V": (x, given[0])}.get(letter, (given[-2:][0], given[-1]))
            steps = 50 if letter != "M" else 1
            way += [
                tuple(a + (b - a) * step / steps for a, b in zip(here, end, strict=True)) for step in range(1, steps)
            ]
            way.append(end)
            here = end
        arrows.append(way)
    return arrows


def test_stages_stand_behind_those_they_require_and_apart(finished: tuple[Roots, Ran]) -> None:
    run = find_run(finished[0].data / "runs")
    placed = boxes(draw(run))
    assert len(placed) == len(run.steps) == 25
    for step in run.steps:
        for name in step.requires:
            assert placed[name][2] < placed[step.label][0]
    for one, other in itertools.combinations(placed.values(), 2):
        assert one[2] <= other[0] or other[2] <= one[0] or one[3] <= other[1] or other[3] <= one[1]


def test_arrows_cross_no_box(finished: tuple[Roots, Ran]) -> None:
    run = find_run(finished[0].data / "runs")
    svg = draw(run)
    arrows = points(svg)
    assert len(arrows) == sum(len(step.requires) for step in run.steps)
    for left, top, right, bottom in boxes(svg).values():
        inside = [(x, y) for way in arrows for x, y in way if left < x < right and top < y < bottom]
        assert inside == []


def test_the_same_run_gives_the_same_text(finished: tuple[Roots, Ran]) -> None:
    assert draw(find_run(finished[0].data / "runs")) == draw(find_run(finished[0].data / "runs"))


def test_says_how_each_stage_ended_how_long_it_took_and_its_rows() -> None:
    svg = draw(
        run_of(
            StageRun("Ingest", "skipped"),
            StageRun("Split", "done", ("Ingest",), duration_s=75.0, rows_in=1_234, rows_out=2_345_678),
            StageRun("Train als", "failed", ("Split",), duration_s=0.25, error="It is broken."),
            StageRun("Evaluate als", "not run", ("Split", "Train als")),
        )
    )
    text = "\n".join(ElementTree.fromstring(svg).itertext())
    for said in ("↷ found done", "✓ 1 min", "1,234 → 2.3M rows", "✕ failed 0.2 s", "It is broken.", "· not run"):
        assert said in text
    assert re.findall(r'<g class="([\w ]+)">', svg) == ["skipped", "done critical", "failed critical", "waiting"]
    assert svg.count('class="edge far"') == 1
    assert "prefers-color-scheme: dark" in svg


def test_what_comes_from_outside_is_escaped() -> None:
    svg = draw(run_of(StageRun("<b>&", "failed", error='"<script>\x00\ud800'), dataset="<script>"))
    assert "<script>" not in svg
    assert ElementTree.fromstring(svg.encode()).tag == f"{SVG}svg"


def test_draws_a_record_with_nothing_in_it_and_one_that_goes_in_circles() -> None:
    ElementTree.fromstring(draw(run_of()))
    circle = draw(run_of(StageRun("A", "done", ("B", "A", "gone")), StageRun("B", "done", ("A",))))
    assert len(boxes(circle)) == 2
    assert draw(replace(run_of(), duration_s=None))


def test_the_critical_path_is_the_chain_that_took_longest() -> None:
    run = run_of(
        StageRun("Ingest", "done", duration_s=1.0),
        StageRun("Train a", "done", ("Ingest",), duration_s=5.0),
        StageRun("Train b", "done", ("Ingest",), duration_s=2.0),
        StageRun("Evaluate b", "done", ("Train b",), duration_s=1.0),
        StageRun("Select", "skipped", ("Train a", "Evaluate b")),
        StageRun("Publish", "done", ("Select",), duration_s=0.5),
    )
    assert critical_path(run) == ["Ingest", "Train a", "Publish"]
    assert critical_path(run_of(StageRun("Ingest", "skipped"))) == []


def test_a_picture_for_a_page_has_no_style_of_its_own() -> None:
    run = run_of(StageRun("Ingest", "done", duration_s=1.0))
    assert "style" not in draw(run, styled=False)
    assert STYLE.startswith(".run-graph {")
