"""TF from a bag: lookups at a stamp with interpolation, the semantics of tf2 without a ROS graph."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field

import numpy as np
from scipy.spatial.transform import Rotation, Slerp

from roboref_node.geometry.transform import Transform
from roboref_node.status import Refused, Status


@dataclass
class _Edge:
    """``parent_from_child`` over time; a static edge has one sample that is always valid."""

    parent: str
    static: bool
    stamps_ns: list[int] = field(default_factory=list)
    samples: list[Transform] = field(default_factory=list)


class TransformTree:
    """All transforms of a recording.

    A lookup between two samples interpolates (linear and spherical linear); a lookup before the first or after the last
    sample is refused, never extrapolated.
    """

    def __init__(self) -> None:
        self._edges: dict[str, _Edge] = {}
        self._two_parents: dict[str, tuple[str, str]] = {}

    def add(self, parent: str, child: str, stamp_ns: int, parent_from_child: Transform, *, static: bool) -> None:
        """Insert one sample; samples may come in any order, a repeated stamp replaces the earlier sample.

        As in tf2 a slash before a name, as ROS 1 had it, does not count, and a frame that is given in itself or in none is passed over.
        """
        parent, child = parent.removeprefix("/"), child.removeprefix("/")
        if not parent or not child or parent == child:
            return
        edge = self._edges.get(child)
        if edge is not None and static and edge.static and edge.parent != parent:
            self._two_parents[child] = edge.parent, parent
        if edge is None or edge.parent != parent or edge.static != static:
            edge = self._edges[child] = _Edge(parent, static)
        if static:
            edge.stamps_ns, edge.samples = [0], [parent_from_child]
            return
        at = bisect_left(edge.stamps_ns, stamp_ns)
        if at < len(edge.stamps_ns) and edge.stamps_ns[at] == stamp_ns:
            edge.samples[at] = parent_from_child
            return
        edge.stamps_ns.insert(at, stamp_ns)
        edge.samples.insert(at, parent_from_child)

    def lookup(self, target: str, source: str, stamp_ns: int) -> Transform:
        """``target_from_source`` at a stamp.

        Raises:
            Refused: TF_UNAVAILABLE when the frames are not connected, or one between them has two parents; TF_STALE when the
                recording has no sample around the stamp.
        """
        from_source, from_target = self._ancestors(source), self._ancestors(target)
        for frame in sorted((set(from_source) ^ set(from_target)) & self._two_parents.keys()):
            first, second = self._two_parents[frame]
            parents = f"{frame} has two parents in the bag's /tf_static, {first} and {second}"
            raise Refused(Status.TF_UNAVAILABLE, f"the transform from {source} to {target} is not certain: {parents}")
        common = next((frame for frame in from_source if frame in from_target), None)
        if common is None:
            known = ", ".join(sorted(set(self._edges) | {e.parent for e in self._edges.values()})) or "none"
            raise Refused(Status.TF_UNAVAILABLE, f"the bag's TF does not connect '{source}' with '{target}'; it holds: {known}")
        return self._chain(target, common, stamp_ns).inverse() @ self._chain(source, common, stamp_ns)

    def _ancestors(self, frame: str) -> list[str]:
        path = [frame]
        while path[-1] in self._edges:
            parent = self._edges[path[-1]].parent
            if parent in path:
                raise Refused(Status.TF_UNAVAILABLE, f"the bag's TF has a loop through '{parent}'")
            path.append(parent)
        return path

    def _chain(self, frame: str, ancestor: str, stamp_ns: int) -> Transform:
        """``ancestor_from_frame``."""
        result = Transform.identity()
        while frame != ancestor:
            edge = self._edges[frame]
            result = self._at(edge, frame, stamp_ns) @ result
            frame = edge.parent
        return result

    def _at(self, edge: _Edge, child: str, stamp_ns: int) -> Transform:
        if edge.static:
            return edge.samples[0]
        at = bisect_left(edge.stamps_ns, stamp_ns)
        if at < len(edge.stamps_ns) and edge.stamps_ns[at] == stamp_ns:
            return edge.samples[at]
        if at in (0, len(edge.stamps_ns)):
            nearest = edge.stamps_ns[0 if at == 0 else -1]
            side = "before the first" if at == 0 else "after the last"
            raise Refused(
                Status.TF_STALE,
                f"the image is {abs(stamp_ns - nearest) / 1e6:.1f} ms {side} sample of '{edge.parent}' -> '{child}' in the bag",
                gap_ms=abs(stamp_ns - nearest) / 1e6,
            )
        before, after = edge.stamps_ns[at - 1], edge.stamps_ns[at]
        return _interpolate(edge.samples[at - 1], edge.samples[at], (stamp_ns - before) / (after - before))


def _interpolate(before: Transform, after: Transform, share: float) -> Transform:
    rotations = Rotation.from_quat(np.stack([before.quaternion_xyzw, after.quaternion_xyzw]))
    rotation = Slerp([0.0, 1.0], rotations)(share)
    return Transform(rotation.as_quat(), before.translation_m * (1 - share) + after.translation_m * share)
