"""What a scene looks like from its camera: the numbers that questions and their answers are made of."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from roboref_node.geometry.camera import CameraModel
from roboref_node.relations.body import Body
from roboref_node.relations.verdict import Outcome
from roboref_node.sim.render import Rendered

PRESENT_SHARE = 5.5e-4
"""An object counts as seen when it covers this share of the image (about 13 x 13 px at 640x480)."""


@dataclass(frozen=True, eq=False)
class ObjectView:
    """One object as seen by the camera.

    Args:
        index: Position in the scene's list of objects, the value in the instance image.
        shape, colour, size: Its true attributes.
        support: ``table``, ``shelf`` or ``object:<index>``.
        centre_m: World coordinates of the middle of its body.
        extent_m: Full size along its own axes.
        radius_m: Radius of the circle around its axis that holds the footprint.
        right_m, forward_m: Centre in the viewer's ground frame (right of, and away from, the camera).
        distance_m: Camera to centre.
        pixels: Number of visible pixels.
        inner_uv: A pixel of its mask nearest to the mask's middle.
        mean_uv: Middle of the visible mask.
    """

    index: int
    shape: str
    colour: str
    size: str
    support: str
    centre_m: NDArray[np.float64]
    extent_m: NDArray[np.float64]
    radius_m: float
    right_m: float
    forward_m: float
    distance_m: float
    pixels: int
    inner_uv: tuple[float, float]
    mean_uv: tuple[float, float]

    @property
    def top_m(self) -> float:
        """World height of its top."""
        return float(self.centre_m[2] + 0.5 * self.extent_m[2])


class SceneView:
    """A rendered scene with its derived quantities; the viewer's ground frame is gravity-aligned.

    Args:
        rendered: Image, exact depth, instance ids and the specification.
    """

    def __init__(self, rendered: Rendered) -> None:
        self.rendered = rendered
        self.kept: dict[str, NDArray[np.bool_]] = {}
        self.outcomes: dict[tuple[str, int, int], Outcome] = {}
        self._bodies: dict[int, Body] = {}
        self.spec = rendered.spec
        height, width = rendered.instance.shape
        self.width = width
        self.height = height
        self.camera: CameraModel = self.spec.camera.scaled(width, height)
        rotation = self.spec.world_from_optical.rotation
        forward = rotation[:2, 2] / np.linalg.norm(rotation[:2, 2])
        self.forward = np.array([forward[0], forward[1]])
        self.right = np.array([forward[1], -forward[0]])
        self.origin_m = self.spec.world_from_optical.translation_m
        counts = np.bincount(rendered.instance[rendered.instance >= 0].astype(np.int64), minlength=len(self.spec.objects))
        self.objects: tuple[ObjectView, ...] = tuple(self._view(i, int(counts[i])) for i in range(len(self.spec.objects)))
        present = PRESENT_SHARE * width * height
        self.present = tuple(o for o in self.objects if o.pixels >= present)
        self.marginal = tuple(o for o in self.objects if 0 < o.pixels < present)

    def _view(self, index: int, pixels: int) -> ObjectView:
        spec = self.spec.objects[index]
        centre = np.asarray(spec.center_m, dtype=np.float64)
        ground = centre[:2] - self.origin_m[:2]
        mean, inner = (0.0, 0.0), (0.0, 0.0)
        if pixels:
            rows, columns = np.nonzero(self.rendered.instance == index)
            mean = (float(columns.mean()), float(rows.mean()))
            nearest = int(np.argmin((columns - mean[0]) ** 2 + (rows - mean[1]) ** 2))
            inner = (float(columns[nearest]), float(rows[nearest]))
        return ObjectView(
            index=index,
            shape=spec.shape,
            colour=spec.colour,
            size=spec.size,
            support=spec.support,
            centre_m=centre,
            extent_m=np.asarray(spec.extent_m, dtype=np.float64),
            radius_m=spec.radius_m,
            right_m=float(ground @ self.right),
            forward_m=float(ground @ self.forward),
            distance_m=float(np.linalg.norm(centre - self.origin_m)),
            pixels=pixels,
            inner_uv=inner,
            mean_uv=mean,
        )

    @cached_property
    def points_m(self) -> NDArray[np.float64]:
        """World coordinates of every pixel, shape (H, W, 3)."""
        v, u = np.mgrid[0 : self.height, 0 : self.width]
        points = self.camera.unproject(np.stack([u, v], axis=-1), self.rendered.depth_m)
        return self.spec.world_from_optical.apply(points)

    @cached_property
    def table_mask(self) -> NDArray[np.bool_]:
        """Pixels that show the free table top, shape (H, W)."""
        return (self.rendered.instance < 0) & (np.abs(self.points_m[..., 2]) < 0.004)

    @cached_property
    def ground_m(self) -> NDArray[np.float64]:
        """Viewer ground coordinates (right, forward) of every pixel, shape (H, W, 2)."""
        offset = self.points_m[..., :2] - self.origin_m[:2]
        return np.stack([offset @ self.right, offset @ self.forward], axis=-1)

    def body(self, index: int) -> Body:
        """Object `index` as a body of the relations: its box in the viewer's levelled frame, x right, y down, z away."""
        if index not in self._bodies:
            item = self.objects[index]
            level = np.stack([[*self.right, 0.0], [0.0, 0.0, -1.0], [*self.forward, 0.0]])
            yaw = self.spec.objects[index].yaw_rad
            axes = np.array([[np.cos(yaw), -np.sin(yaw), 0.0], [np.sin(yaw), np.cos(yaw), 0.0], [0.0, 0.0, 1.0]])
            self._bodies[index] = Body(level @ (item.centre_m - self.origin_m), level @ axes, item.extent_m, name=item.shape)
        return self._bodies[index]

    def supports_something(self, index: int) -> bool:
        """True when another object stands on object `index`."""
        return any(o.support == f"object:{index}" for o in self.objects)

    def normalised(self, uv: tuple[float, float]) -> tuple[float, float]:
        """Pixel to RoboRefer's [0, 1] coordinates: the centre of pixel u is at (u + 0.5) / W."""
        return (uv[0] + 0.5) / self.width, (uv[1] + 0.5) / self.height
