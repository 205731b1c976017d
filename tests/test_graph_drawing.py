"""The drawing of a run."""

from __future__ import annotations

import itertools
import re
from dataclasses import replace
from xml.etree import ElementTree

from support.pipeline import Ran, Roots

from run_records.critical_path import critical_path
from run_records.graph_drawing import draw_graph
from run_records.graph_style import STYLE
from run_records.reader import find_run
from run_records.recorded_run import RecordedRun, RecordedStage

SVG = "{http://www.w3.org/2000/svg}"


def run_of(*steps: RecordedStage, dataset: str = "tiny") -> RecordedRun:
    return RecordedRun("r1", dataset, None, "failed", 3.2, None, steps, {}, {})


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


def test_stages_are_right_of_their_predecessors_and_do_not_overlap(finished: tuple[Roots, Ran]) -> None:
    run = find_run(finished[0].data / "runs")
    placed = boxes(draw_graph(run))
    assert len(placed) == len(run.stages) == 25
    for step in run.stages:
        for name in step.requires:
            assert placed[name][2] < placed[step.label][0]
    for one, other in itertools.combinations(placed.values(), 2):
        assert one[2] <= other[0] or other[2] <= one[0] or one[3] <= other[1] or other[3] <= one[1]


def test_edges_cross_no_box(finished: tuple[Roots, Ran]) -> None:
    run = find_run(finished[0].data / "runs")
    svg = draw_graph(run)
    arrows = points(svg)
    assert len(arrows) == sum(len(step.requires) for step in run.stages)
    for left, top, right, bottom in boxes(svg).values():
        inside = [(x, y) for way in arrows for x, y in way if left < x < right and top < y < bottom]
        assert inside == []


def test_drawing_is_deterministic(finished: tuple[Roots, Ran]) -> None:
    assert draw_graph(find_run(finished[0].data / "runs")) == draw_graph(find_run(finished[0].data / "runs"))


def test_boxes_show_status_duration_and_rows() -> None:
    svg = draw_graph(
        run_of(
            RecordedStage("Ingest", "skipped"),
            RecordedStage("Split", "done", ("Ingest",), duration_s=75.0, rows_in=1_234, rows_out=2_345_678),
            RecordedStage("Train als", "failed", ("Split",), duration_s=0.25, error="It is broken."),
            RecordedStage("Evaluate als", "not run", ("Split", "Train als")),
        )
    )
    text = "\n".join(ElementTree.fromstring(svg).itertext())
    for said in ("↷ up to date", "✓ 1 min 15 s", "1,234 → 2.3M rows", "✕ failed 0.2 s", "It is broken.", "· not run"):
        assert said in text
    assert re.findall(r'<g class="([^"]+)">', svg) == ["skipped", "done critical", "failed critical", "waiting"]
    assert svg.count('class="edge far"') == 1
    assert "prefers-color-scheme: dark" in svg


def test_text_is_escaped() -> None:
    svg = draw_graph(run_of(RecordedStage("<b>&", "failed", error='"<script>\x00\ud800'), dataset="<script>"))
    assert "<script>" not in svg
    assert ElementTree.fromstring(svg.encode()).tag == f"{SVG}svg"


class TestCriticalPath:
    STEPS = (
        RecordedStage("Ingest", "done", duration_s=2.0),
        RecordedStage("Train als", "done", ("Ingest",), duration_s=4.0),
        RecordedStage("Train ease", "done", ("Ingest",), duration_s=3.0),
        RecordedStage("Evaluate ease", "done", ("Ingest", "Train ease"), duration_s=2.0),
        RecordedStage("Select", "done", ("Train als", "Evaluate ease"), duration_s=0.5),
    )

    def test_is_the_chain_with_the_longest_total_duration(self) -> None:
        assert critical_path(run_of(*self.STEPS)) == ["Ingest", "Train ease", "Evaluate ease", "Select"]
        slower = replace(self.STEPS[1], duration_s=6.0)
        assert critical_path(run_of(self.STEPS[0], slower, *self.STEPS[2:])) == ["Ingest", "Train als", "Select"]

    def test_skipped_stages_take_no_time_and_are_at_neither_end(self) -> None:
        waited = replace(self.STEPS[0], status="skipped", duration_s=60.0)
        last = RecordedStage("Promote", "skipped", ("Select",))
        run = run_of(waited, *self.STEPS[1:], last)
        assert critical_path(run) == ["Train ease", "Evaluate ease", "Select"]

    def test_includes_skipped_stages_between_others(self) -> None:
        run = run_of(
            RecordedStage("A", "done", duration_s=1.0),
            RecordedStage("B", "skipped", ("A",)),
            RecordedStage("C", "done", ("B",), duration_s=1.0),
        )
        assert critical_path(run) == ["A", "B", "C"]

    def test_is_empty_without_a_completed_stage(self) -> None:
        assert critical_path(run_of()) == []
        assert (
            critical_path(run_of(RecordedStage("A", "skipped"), RecordedStage("B", "failed", ("A",), duration_s=3.0)))
            == []
        )
        assert "critical" not in draw_graph(run_of(RecordedStage("A", "skipped")), styled=False).replace(
            "critical-tip", ""
        )

    def test_of_a_pipeline_run_leads_from_first_to_last_stage(self, finished: tuple[Roots, Ran]) -> None:
        run = find_run(finished[0].data / "runs", id_prefix=finished[1].record[0]["run"])
        path = critical_path(run)
        assert (path[0], path[-1]) == ("Generate", "Promote")
        requires = {step.label: step.requires for step in run.stages}
        assert all(before in requires[after] for before, after in itertools.pairwise(path))

    def test_is_drawn_and_named(self) -> None:
        svg = draw_graph(replace(run_of(*self.STEPS), duration_s=20.0))
        assert re.findall(r"<title>([^:]+): done, on the critical path<", svg) == critical_path(run_of(*self.STEPS))
        assert svg.count('class="edge critical"') == 3
        assert "critical path 7.5 s of 20 s" in svg
        assert "critical path 7.5 s<" in draw_graph(replace(run_of(*self.STEPS), duration_s=None))


class TestUnstyledDrawing:
    def test_contains_no_style(self) -> None:
        svg = draw_graph(run_of(*TestCriticalPath.STEPS), styled=False)
        assert "style" not in svg
        assert "<a" not in svg
        assert draw_graph(run_of(*TestCriticalPath.STEPS)).replace(f"<style>{STYLE}</style>\n", "") == svg

    def test_style_sheet_matches_only_drawings(self) -> None:
        selectors = re.findall(r"([^{};]+){", STYLE.replace("@media (prefers-color-scheme: dark) {", ""))
        names = [each.strip() for selector in selectors for each in selector.replace("}", "").split(",")]
        assert len(names) > 20
        assert all(name.split()[0] == ".run-graph" for name in names)
        assert 'class="run-graph"' in draw_graph(run_of())

    def test_ids_differ_between_runs(self) -> None:
        one, other = (draw_graph(replace(run_of(*TestCriticalPath.STEPS), id=name)) for name in ('r "1"', "r2"))
        ids = [set(re.findall(r'id="([^"]+)"', svg)) for svg in (one, other)]
        assert len(ids[0]) == len(ids[1]) == 3
        assert not ids[0] & ids[1]
        assert set(re.findall(r"url\(#([^)]+)\)", one)) <= ids[0]


def test_draws_empty_and_cyclic_records() -> None:
    ElementTree.fromstring(draw_graph(run_of()))
    circle = draw_graph(run_of(RecordedStage("A", "done", ("B", "A", "gone")), RecordedStage("B", "done", ("A",))))
    assert len(boxes(circle)) == 2
    assert draw_graph(replace(run_of(), duration_s=None))
