"""Where the parts of the topology stand in its picture.

Gateways and callers stand on the left, services on the right, in a box for each namespace. A service has the same
width everywhere, so that its name is readable with two hundred of them; a name that is longer is cut, and whole in its
title.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

from controlplane.admin.pace import PAUSE, Pause
from controlplane.api.models import Edge, Node, ObjectName, Topology
from controlplane.ui.words import object_path, object_text, part_of_path

WIDTH, HEIGHT, GAP, SIDE = 176, 24, 10, 44
_LEFT, _TOP, _MARGIN = 12, 12, 12
_COLUMNS = 4
_BETWEEN = 130
_TITLE = 22
_LONGEST_NAME = 24


@dataclass(frozen=True, slots=True)
class Placed:
    """A node and its upper left corner; ``path`` is its screen, empty where it has none."""

    node: Node
    x: int
    y: int
    label: str
    path: str


@dataclass(frozen=True, slots=True)
class Box:
    """The frame of a namespace."""

    name: str
    x: int
    y: int
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Line:
    """A line between two nodes: what it says, and its way in the words of SVG's ``path``."""

    edge: Edge
    way: str
    text: str


@dataclass
class Picture:
    """The whole, in pixels."""

    width: int = 0
    height: int = 0
    placed: dict[str, Placed] = field(default_factory=dict)
    boxes: list[Box] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)


def picture(topology: Topology) -> Iterator[Picture | Pause]:
    """Yield pauses, and at the end the picture."""
    drawn = Picture()
    left = [node for node in topology.nodes if node.sort != "service"]
    y = _TOP
    for node in left:
        yield PAUSE
        drawn.placed[node.id] = _placed(node, _LEFT, y)
        y += HEIGHT + GAP
    x = _LEFT + (WIDTH + _BETWEEN if left else 0)
    bottom = _services(drawn, [node for node in topology.nodes if node.sort == "service"], x)
    columns = min(_COLUMNS, max((len(drawn.placed) - len(left)), 1))
    drawn.width = x + columns * (WIDTH + SIDE) + 2 * _MARGIN
    drawn.height = max(y, bottom) + _TOP
    for edge in topology.edges:
        yield PAUSE
        if edge.source in drawn.placed and edge.target in drawn.placed:
            drawn.lines.append(_line(drawn, edge))
    yield drawn


def _services(drawn: Picture, nodes: list[Node], x: int) -> int:
    """Place the services, and return where the last box ends."""
    by_namespace: defaultdict[str, list[Node]] = defaultdict(list)
    for node in nodes:
        by_namespace[node.namespace].append(node)
    y = _TOP
    for namespace, held in sorted(by_namespace.items()):
        rows = -(-len(held) // _COLUMNS)
        for position, node in enumerate(held):
            row, column = divmod(position, _COLUMNS)
            at = (x + _MARGIN + column * (WIDTH + SIDE), y + _TITLE + row * (HEIGHT + GAP))
            drawn.placed[node.id] = _placed(node, *at)
        width = min(len(held), _COLUMNS) * (WIDTH + SIDE) - SIDE + 2 * _MARGIN
        height = _TITLE + rows * (HEIGHT + GAP)
        drawn.boxes.append(Box(namespace, x, y, width, height))
        y += height + GAP
    return y


def _placed(node: Node, x: int, y: int) -> Placed:
    name = f"{node.namespace}/{node.name}" if node.sort != "service" and node.namespace else node.name
    label = name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…"
    return Placed(node, x, y, label, _path(node))


def _path(node: Node) -> str:
    if node.sort == "service":
        return f"/ui/services/{part_of_path(node.namespace)}/{part_of_path(node.id.partition(':')[2])}"
    if node.sort == "gateway":
        group = "networking.istio.io"
        return object_path(ObjectName(kind="Gateway", group=group, namespace=node.namespace, name=node.name))
    return ""


def _line(drawn: Picture, edge: Edge) -> Line:
    """Return a line that bends out to the side, so that those between neighbours are seen too."""
    source, target = drawn.placed[edge.source], drawn.placed[edge.target]
    from_x, from_y = source.x + WIDTH, source.y + HEIGHT // 2
    to_x, to_y = target.x, target.y + HEIGHT // 2
    bend = 24 if source is target else max(40, abs(to_x - from_x) // 2)
    share = f" {edge.percent:.0f} %" if edge.sort == "routes" else ""
    subset = f" to subset {edge.subset}" if edge.subset else ""
    names = f"{source.node.name} → {target.node.name}"
    rule = f" rule {edge.rule}" if edge.rule else ""
    text = f"{names}: {edge.sort}{share}{subset}, by {object_text(edge.object)}{rule}"
    if source is target:  # to subsets of its own: a loop at its right end
        way = f"M{from_x} {from_y - 6}c{bend} -8 {bend} 20 0 12"
    else:
        way = f"M{from_x} {from_y}C{from_x + bend} {from_y} {to_x - bend} {to_y} {to_x} {to_y}"
    return Line(edge, way, text)
