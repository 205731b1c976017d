"""Layered layout of a run's stages, from left to right (Sugiyama et al., 1981).

A stage is one layer to the right of the last stage it requires. Within a layer, stages are ordered by the barycenter of
their predecessors. Edges between neighbouring layers run between the boxes. Longer edges run in lanes below all boxes,
one lane per source, and so cross no box.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from run_records.recorded_run import RecordedStage

NODE_WIDTH, NODE_HEIGHT = 204, 78
MARGIN = 28
LAYER_GAP = 58
_ROW_GAP = 22
_HEADER_HEIGHT, _LANE_HEIGHT = 76, 14
_LANES_TOP_GAP, _MIN_WIDTH = 18, 520
_CORNER_RADIUS = 9
_ARROW_LENGTH = 7

Edge = tuple[str, str]
"""The labels of the required stage and of the stage that requires it."""


@dataclass(frozen=True)
class Node:
    """The box of a stage: its layer and its upper left corner."""

    layer: int
    x: float
    y: float

    @property
    def center_y(self) -> float:
        """The vertical center, where edges start and end."""
        return self.y + NODE_HEIGHT / 2


class GraphLayout:
    """The positions of all nodes and edges of a run's graph."""

    def __init__(self, stages: Iterable[RecordedStage]) -> None:
        stages = list(stages)
        labels = {stage.label for stage in stages}
        self.predecessors = {
            stage.label: tuple(name for name in dict.fromkeys(stage.requires) if name in labels) for stage in stages
        }
        layers = _assign_layers(self.predecessors)
        rows = max((len(layer) for layer in layers), default=1)
        height = _column_height(rows)
        self.nodes = {
            label: Node(
                number,
                MARGIN + number * (NODE_WIDTH + LAYER_GAP),
                _HEADER_HEIGHT + (height - _column_height(len(layer))) / 2 + row * (NODE_HEIGHT + _ROW_GAP),
            )
            for number, layer in enumerate(layers)
            for row, label in enumerate(layer)
        }
        self._lanes = _assign_lanes(self.predecessors, self.nodes)
        self._lanes_top = _HEADER_HEIGHT + height + _LANES_TOP_GAP
        self.width = max(2 * MARGIN + len(layers) * (NODE_WIDTH + LAYER_GAP) - LAYER_GAP, _MIN_WIDTH)
        self.height = self._lanes_top + len(self._lanes) * _LANE_HEIGHT + MARGIN - 8

    @property
    def edges(self) -> list[Edge]:
        """All edges, sorted."""
        return sorted((required, label) for label, names in self.predecessors.items() for required in names)

    def edge_path(self, edge: Edge) -> str:
        """The SVG path of an edge, from the right side of one node to the left side of the other."""
        source, target = self.nodes[edge[0]], self.nodes[edge[1]]
        if target.layer == source.layer + 1:
            return _curve(source, target)
        lane, count = self._lanes[edge[0]], len(self._lanes)
        offset = 12 + lane * min(26 / max(count, 1), 7)
        return _detour(source, target, offset, self._lanes_top + lane * _LANE_HEIGHT)


def _column_height(rows: int) -> float:
    return rows * (NODE_HEIGHT + _ROW_GAP) - _ROW_GAP


def _assign_layers(predecessors: Mapping[str, tuple[str, ...]]) -> list[list[str]]:
    """The labels of each layer, from top to bottom: layers by longest path, rows by barycenter."""
    depth: dict[str, int] = {}

    def find_depth(label: str, ancestors: tuple[str, ...]) -> int:
        if label not in depth:
            # A record edited by hand may contain a cycle, which must not recurse for ever.
            names = [name for name in predecessors[label] if name not in ancestors]
            depth[label] = max((find_depth(name, (*ancestors, label)) + 1 for name in names), default=0)
        return depth[label]

    layers: list[list[str]] = []
    for label in predecessors:
        number = find_depth(label, (label,))
        layers.extend([] for _ in range(number + 1 - len(layers)))
        layers[number].append(label)

    row_of: dict[str, float] = {}
    for number, layer in enumerate(layers):

        def barycenter(label: str, number: int = number) -> float:
            rows = [row_of[name] for name in predecessors[label] if name in row_of and depth[name] == number - 1]
            return sum(rows) / max(len(rows), 1)

        layer.sort(key=barycenter)
        row_of.update({label: row - (len(layer) - 1) / 2 for row, label in enumerate(layer)})
    return layers


def _assign_lanes(predecessors: Mapping[str, tuple[str, ...]], nodes: Mapping[str, Node]) -> dict[str, int]:
    """The lane of each source of a long edge; sources further right have the upper lanes."""
    sources = {
        required
        for label, names in predecessors.items()
        for required in names
        if nodes[label].layer != nodes[required].layer + 1
    }
    return {label: lane for lane, label in enumerate(sorted(sources, key=lambda name: (-nodes[name].layer, name)))}


def transitive_edges(predecessors: Mapping[str, tuple[str, ...]]) -> set[Edge]:
    """The edges that a longer path connects as well, so that they add no information."""
    ancestors: dict[str, frozenset[str]] = {}

    def find_ancestors(label: str, descendants: frozenset[str]) -> frozenset[str]:
        if label not in ancestors:
            names = [name for name in predecessors[label] if name not in descendants]
            ancestors[label] = frozenset(names).union(*(find_ancestors(name, descendants | {label}) for name in names))
        return ancestors[label]

    return {
        (required, label)
        for label, names in predecessors.items()
        for required in names
        if any(required in find_ancestors(other, frozenset({label})) for other in names if other != required)
    }


def _curve(source: Node, target: Node) -> str:
    """A Bézier curve between nodes of neighbouring layers."""
    x1, y1, x2, y2 = source.x + NODE_WIDTH, source.center_y, target.x - _ARROW_LENGTH, target.center_y
    bend = (x2 - x1) / 2
    return f"M{x1:g} {y1:g}C{x1 + bend:g} {y1:g} {x2 - bend:g} {y2:g} {x2:g} {y2:g}"


def _detour(source: Node, target: Node, offset: float, lane_y: float) -> str:
    """Straight lines with round corners: down beside the source, along the lane, and up beside the target.

    Args:
        offset: of the vertical lines from the right side of the nodes.
    """
    x1, x2 = source.x + NODE_WIDTH, target.x - _ARROW_LENGTH
    y1, y2 = source.center_y + 16, target.center_y + 16  # clear of the curves to neighbouring layers
    down, up, r = x1 + offset, target.x - LAYER_GAP + offset, _CORNER_RADIUS
    return (
        f"M{x1:g} {y1:g}H{down - r:g}Q{down:g} {y1:g} {down:g} {y1 + r:g}V{lane_y - r:g}"
        f"Q{down:g} {lane_y:g} {down + r:g} {lane_y:g}H{up - r:g}Q{up:g} {lane_y:g} {up:g} {lane_y - r:g}"
        f"V{y2 + r:g}Q{up:g} {y2:g} {up + r:g} {y2:g}H{x2:g}"
    )
