"""TF from a bag: lookups at a stamp with interpolation, the semantics of tf2 without a ROS graph."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field, replace

import numpy as np
from scipy.spatial.transform import Rotation, Slerp

from roboref_node.geometry.transform import Transform
from roboref_node.status import Refused, Status

_BOTH_NS = 2_000_000_000
"""Two static parents contradict each other when both were told within this time, as live; later the second has replaced the first."""


@dataclass(frozen=True)
class _Sample:
    """``parent_from_child`` from a time on (static), or at a time."""

    stamp_ns: int
    parent: str
    parent_from_child: Transform
    rival: str = ""
    """Another static parent that was told at about the same time: one of the two is wrong."""


@dataclass
class _Edge:
    """A child and what is above it, by time."""

    static: bool
    samples: list[_Sample] = field(default_factory=list)

    def before(self, stamp_ns: int) -> int:
        """How many samples are not newer than a stamp."""
        return bisect_right(self.samples, stamp_ns, key=lambda sample: sample.stamp_ns)

    def contest(self, sample: _Sample) -> _Sample:
        """The sample as a rival of those with another parent that were told at about the same time, which become its rivals."""
        for at, other in enumerate(self.samples):
            if other.parent != sample.parent and abs(other.stamp_ns - sample.stamp_ns) < _BOTH_NS:
                self.samples[at], sample = replace(other, rival=sample.parent), replace(sample, rival=other.parent)
        return sample

    def in_force(self, stamp_ns: int) -> _Sample:
        """The newest sample that is not newer than a stamp, else the first."""
        return self.samples[max(0, self.before(stamp_ns) - 1)]


class TransformTree:
    """All transforms of a recording.

    A lookup between two samples interpolates (linear and spherical linear); a lookup before the first or after the last
    sample is refused, never extrapolated. A static transform holds until it is replaced, and the first one also before it was told.
    """

    def __init__(self) -> None:
        self._edges: dict[str, _Edge] = {}

    def add(self, parent: str, child: str, stamp_ns: int, parent_from_child: Transform, *, static: bool) -> None:
        """Insert one sample; samples may come in any order, a repeated stamp replaces the earlier sample.

        As in tf2 a slash before a name, as ROS 1 had it, does not count, a frame that is given in itself or in none is passed over,
        and one that moves is no static one any more.

        Args:
            parent: Frame above.
            child: Frame below.
            stamp_ns: When it held; of a static one: from when on.
            parent_from_child: The transform.
            static: Told on ``/tf_static``.
        """
        parent, child = parent.removeprefix("/"), child.removeprefix("/")
        if not parent or not child or parent == child:
            return
        edge = self._edges.get(child)
        if edge is None or edge.static != static:
            edge = self._edges[child] = _Edge(static)
        sample, after = _Sample(stamp_ns, parent, parent_from_child), edge.before(stamp_ns)
        if static:
            sample = edge.contest(sample)
        if after and edge.samples[after - 1].stamp_ns == stamp_ns:
            edge.samples[after - 1] = sample
        else:
            edge.samples.insert(after, sample)

    def lookup(self, target: str, source: str, stamp_ns: int) -> Transform:
        """``target_from_source`` at a stamp.

        Raises:
            Refused: TF_UNAVAILABLE when the frames are not connected, or one between them has two parents; TF_STALE when the
                recording has no sample around the stamp.
        """
        from_source, from_target = self._ancestors(source, stamp_ns), self._ancestors(target, stamp_ns)
        for frame in sorted((set(from_source) ^ set(from_target)) & self._edges.keys()):
            sample = self._edges[frame].in_force(stamp_ns)
            if sample.rival:
                parents = f"{frame} has two parents in the bag's /tf_static, {sample.rival} and {sample.parent}"
                raise Refused(Status.TF_UNAVAILABLE, f"the transform from {source} to {target} is not certain: {parents}")
        common = next((frame for frame in from_source if frame in from_target), None)
        if common is None:
            above = {sample.parent for edge in self._edges.values() for sample in edge.samples}
            known = ", ".join(sorted(set(self._edges) | above)) or "none"
            raise Refused(Status.TF_UNAVAILABLE, f"the bag's TF does not connect '{source}' with '{target}'; it holds: {known}")
        return self._chain(target, common, stamp_ns).inverse() @ self._chain(source, common, stamp_ns)

    def _ancestors(self, frame: str, stamp_ns: int) -> list[str]:
        path = [frame]
        while path[-1] in self._edges:
            parent = self._edges[path[-1]].in_force(stamp_ns).parent
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
            frame = edge.in_force(stamp_ns).parent
        return result

    def _at(self, edge: _Edge, child: str, stamp_ns: int) -> Transform:
        sample = edge.in_force(stamp_ns)
        if edge.static or sample.stamp_ns == stamp_ns:
            return sample.parent_from_child
        following = edge.before(stamp_ns)
        if following in (0, len(edge.samples)):
            gap_ms = abs(stamp_ns - sample.stamp_ns) / 1e6
            side = "before the first" if following == 0 else "after the last"
            raise Refused(
                Status.TF_STALE,
                f"the image is {gap_ms:.1f} ms {side} sample of '{sample.parent}' -> '{child}' in the bag",
                gap_ms=gap_ms,
            )
        after = edge.samples[following]
        if after.parent != sample.parent:
            return sample.parent_from_child
        share = (stamp_ns - sample.stamp_ns) / (after.stamp_ns - sample.stamp_ns)
        return _interpolate(sample.parent_from_child, after.parent_from_child, share)


def _interpolate(before: Transform, after: Transform, share: float) -> Transform:
    rotations = Rotation.from_quat(np.stack([before.quaternion_xyzw, after.quaternion_xyzw]))
    rotation = Slerp([0.0, 1.0], rotations)(share)
    return Transform(rotation.as_quat(), before.translation_m * (1 - share) + after.translation_m * share)
