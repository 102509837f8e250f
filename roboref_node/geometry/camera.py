"""Camera models: pixels to rays and back, for every distortion model that CameraInfo carries, refused where they do not hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from roboref_node.geometry.distortion import BrownDistortion, FisheyeDistortion, brown_distortion, fisheye_distortion
from roboref_node.status import Refused, Status

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]


class DistortionModel(str, Enum):
    """Distortion models, under the names that sensor_msgs/CameraInfo uses."""

    NONE = "none"
    PLUMB_BOB = "plumb_bob"
    RATIONAL_POLYNOMIAL = "rational_polynomial"
    EQUIDISTANT = "equidistant"
    THIN_PRISM = "thin_prism"


_COUNTS: dict[DistortionModel, tuple[int, ...]] = {
    DistortionModel.NONE: (0,),
    DistortionModel.PLUMB_BOB: (4, 5),
    DistortionModel.RATIONAL_POLYNOMIAL: (8,),
    DistortionModel.EQUIDISTANT: (4,),
    DistortionModel.THIN_PRISM: (12, 14),
}
_LARGEST_COEFFICIENT = 1e9
"""Far beyond any lens: rational models of OpenCV reach some hundreds, badly conditioned ones some millions."""
_FOCAL_PX = (1e-3, 1e9)
"""What a focal length may be; whatever a lens has lies far inside, and outside of it squares leave the range of numbers."""
_ALIASES = {
    "": DistortionModel.NONE,
    "pinhole": DistortionModel.NONE,
    "brown_conrady": DistortionModel.PLUMB_BOB,
    "radtan": DistortionModel.PLUMB_BOB,
    "fisheye": DistortionModel.EQUIDISTANT,
    "kannala_brandt": DistortionModel.EQUIDISTANT,
    "kannala_brandt4": DistortionModel.EQUIDISTANT,
}


@dataclass(frozen=True)
class CameraModel:
    """Intrinsics of one camera. Pixel (0, 0) is the centre of the first pixel; optical frame x right, y down, z forward.

    Args:
        fx, fy: Focal lengths in pixels, > 0.
        cx, cy: Principal point in pixels.
        width, height: Image size in pixels.
        distortion_model: Lens model.
        coefficients: Its coefficients in the order of OpenCV and CameraInfo: plumb_bob k1 k2 p1 p2 [k3]; rational_polynomial
            appends k4 k5 k6; thin_prism appends s1 s2 s3 s4 [tx ty]; equidistant k1 k2 k3 k4.

    Raises:
        Refused: BAD_REQUEST when a number is not finite, a focal length or size is not positive, or the count of coefficients
            is not the model's.
    """

    fx: float
    fy: float
    cx: float
    cy: float
    width: int
    height: int
    distortion_model: DistortionModel = DistortionModel.NONE
    coefficients: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        for name in ("fx", "fy", "cx", "cy"):
            object.__setattr__(self, name, float(getattr(self, name)))
        model = DistortionModel(self.distortion_model)
        coefficients = tuple(float(c) for c in self.coefficients)
        numbers = (self.fx, self.fy, self.cx, self.cy, *coefficients)
        if not np.all(np.isfinite(numbers)):
            _refuse(f"the camera has a number that is not finite: {numbers}")
        if self.width <= 0 or self.height <= 0:
            _refuse(f"the camera's image size is {self.width}x{self.height}; both must be positive")
        if self.fx <= 0 or self.fy <= 0:
            _refuse(f"the focal lengths are fx = {self.fx:g}, fy = {self.fy:g}; both must be positive: the camera is not calibrated")
        if not all(_FOCAL_PX[0] <= f <= _FOCAL_PX[1] for f in (self.fx, self.fy)):
            _refuse(f"the focal lengths are fx = {self.fx:g}, fy = {self.fy:g} px, no lens has them: the calibration is damaged")
        if any(abs(c) > _LARGEST_COEFFICIENT for c in coefficients):
            worst = max(coefficients, key=abs)
            _refuse(f"a distortion coefficient is {worst:g}, no lens has one beyond {_LARGEST_COEFFICIENT:g}: the calibration is damaged")
        if model is DistortionModel.RATIONAL_POLYNOMIAL and len(coefficients) in (12, 14):
            model = DistortionModel.THIN_PRISM  # OpenCV writes its longer vectors under the shorter name.
        if len(coefficients) not in _COUNTS[model]:
            wanted = " or ".join(str(n) for n in _COUNTS[model])
            _refuse(f"distortion model {model.value} has {wanted} coefficients, this camera gives {len(coefficients)}")
        if model is not DistortionModel.EQUIDISTANT and not any(coefficients):
            model, coefficients = DistortionModel.NONE, ()
        object.__setattr__(self, "width", int(self.width))
        object.__setattr__(self, "height", int(self.height))
        object.__setattr__(self, "distortion_model", model)
        object.__setattr__(self, "coefficients", coefficients)

    @property
    def matrix(self) -> FloatArray:
        """Intrinsic matrix K, shape (3, 3)."""
        return np.array([[self.fx, 0.0, self.cx], [0.0, self.fy, self.cy], [0.0, 0.0, 1.0]])

    @property
    def distortion(self) -> BrownDistortion | FisheyeDistortion | None:
        """The lens on the normalised plane, None for a pinhole; searched once per camera."""
        if self.distortion_model is DistortionModel.NONE:
            return None
        if self.distortion_model is DistortionModel.EQUIDISTANT:
            return fisheye_distortion(self.coefficients)
        x = max(abs(-0.5 - self.cx), abs(self.width - 0.5 - self.cx)) / self.fx
        y = max(abs(-0.5 - self.cy), abs(self.height - 0.5 - self.cy)) / self.fy
        return brown_distortion(self.coefficients + (0.0,) * (14 - len(self.coefficients)), float(np.hypot(x, y)))

    def project(self, xyz_m: ArrayLike) -> FloatArray:
        """Pixels of points.

        Args:
            xyz_m: Points in the optical frame in metres, shape (..., 3).

        Returns:
            Pixels (u, v), shape (..., 2); NaN behind the camera and beyond the range where the lens model is one-to-one.
            May lie outside the image.
        """
        p = np.asarray(xyz_m, dtype=np.float64)
        z = np.where(p[..., 2] > 1e-9, p[..., 2], np.nan)
        lens = self.distortion
        x, y = (p[..., 0] / z, p[..., 1] / z) if lens is None else lens.distort(p[..., 0], p[..., 1], z)
        return np.stack([self.fx * x + self.cx, self.fy * y + self.cy], axis=-1)

    def rays(self, uv_px: ArrayLike) -> FloatArray:
        """Viewing rays with z = 1.

        Args:
            uv_px: Pixels, shape (..., 2), inside or outside the image.

        Returns:
            Rays (x, y, 1) in the optical frame, shape (..., 3); NaN for pixels that the lens model does not reach.
        """
        uv = np.asarray(uv_px, dtype=np.float64)
        out = np.empty((*uv.shape[:-1], 3))
        x = (uv[..., 0] - self.cx) / self.fx
        y = (uv[..., 1] - self.cy) / self.fy
        lens = self.distortion
        out[..., 0], out[..., 1] = (x, y) if lens is None else lens.undistort(x, y)
        out[..., 2] = 1.0
        if lens is not None:
            out[..., 2] += 0.0 * out[..., 0]  # NaN rays are NaN in every component.
        return out

    def unproject(self, uv_px: ArrayLike, depth_m: ArrayLike) -> FloatArray:
        """Points at a depth along the optical axis (not along the ray).

        Args:
            uv_px: Pixels, shape (..., 2).
            depth_m: z in metres, shape (...).

        Returns:
            Points in the optical frame in metres, shape (..., 3); NaN where the ray or the depth is.
        """
        return self.rays(uv_px) * np.asarray(depth_m, dtype=np.float64)[..., None]

    def contains(self, uv_px: ArrayLike) -> BoolArray:
        """Whether pixels lie on the image and inside the lens model's range, shape (...)."""
        uv = np.asarray(uv_px, dtype=np.float64)
        inside = self.on_image(uv)
        if self.distortion is not None:
            inside &= np.isfinite(self.rays(uv)[..., 0])
        return np.asarray(inside, dtype=np.bool_)

    def on_image(self, uv_px: ArrayLike) -> BoolArray:
        """Whether pixels lie on the image, whatever the lens model says, shape (...)."""
        uv = np.asarray(uv_px, dtype=np.float64)
        u, v = uv[..., 0], uv[..., 1]
        return np.asarray((u >= -0.5) & (u < self.width - 0.5) & (v >= -0.5) & (v < self.height - 0.5), dtype=np.bool_)

    def scaled(self, width: int, height: int) -> CameraModel:
        """The same camera after resizing its image; each axis by its own factor, about the pixel corners."""
        sx, sy = width / self.width, height / self.height
        return replace(
            self, fx=self.fx * sx, fy=self.fy * sy, cx=(self.cx + 0.5) * sx - 0.5, cy=(self.cy + 0.5) * sy - 0.5, width=width, height=height
        )

    def cropped(self, x: int, y: int, width: int, height: int) -> CameraModel:
        """The same camera after cutting out a rectangle whose first pixel is (x, y)."""
        return replace(self, cx=self.cx - x, cy=self.cy - y, width=width, height=height)

    def to_dict(self) -> dict[str, Any]:
        """JSON and YAML form, the camera file of the command line."""
        return {
            "width": self.width,
            "height": self.height,
            "fx": self.fx,
            "fy": self.fy,
            "cx": self.cx,
            "cy": self.cy,
            "distortion_model": self.distortion_model.value,
            "coefficients": list(self.coefficients),
        }

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> CameraModel:
        """Inverse of `to_dict`.

        Raises:
            Refused: BAD_REQUEST naming a missing or wrong entry.
        """
        try:
            return CameraModel(
                fx=float(data["fx"]),
                fy=float(data["fy"]),
                cx=float(data["cx"]),
                cy=float(data["cy"]),
                width=int(data["width"]),
                height=int(data["height"]),
                distortion_model=parse_distortion_model(str(data.get("distortion_model", "none"))),
                coefficients=tuple(float(c) for c in data.get("coefficients", ())),
            )
        except KeyError as error:
            raise Refused(Status.BAD_REQUEST, f"the camera description has no entry {error.args[0]!r}") from None
        except (TypeError, ValueError) as error:
            raise Refused(Status.BAD_REQUEST, f"the camera description has a wrong value: {error}") from None

    @staticmethod
    def from_camera_info(
        *,
        width: int,
        height: int,
        K: Sequence[float],
        D: Sequence[float],
        distortion_model: str,
        P: Sequence[float],
        R: Sequence[float] = (),
        binning_x: int = 0,
        binning_y: int = 0,
        roi: tuple[int, int, int, int, bool] = (0, 0, 0, 0, False),
        rectified: bool,
    ) -> CameraModel:
        """The camera of an image topic, from the fields of its sensor_msgs/CameraInfo.

        A rectified topic (``image_rect``) is described by P alone, a raw one (``image_raw``) by K and D. Region of interest
        and binning follow the message: K, P, width and height belong to the full sensor; the region is cut out in full
        resolution, then blocks of binning_x by binning_y pixels become one. With pixel centres at integers the centre of the
        first block is at (binning - 1) / 2, so c becomes (c + 0.5) / binning - 0.5.

        Args:
            width: Full-resolution width in pixels.
            height: Full-resolution height in pixels.
            K: 9 numbers, row-major.
            D: Distortion coefficients; empty means no distortion.
            distortion_model: Name in the message.
            P: 12 numbers, row-major.
            R: 9 numbers, row-major; checked to be a rotation. As everywhere in ROS, the frame of a rectified image is the
                rectified one.
            binning_x: Binning factor along the rows; 0 means 1.
            binning_y: Binning factor along the columns; 0 means 1.
            roi: x_offset, y_offset, width, height, do_rectify; width and height 0 mean the whole image.
            rectified: Whether the image topic is rectified.

        Raises:
            Refused: BAD_REQUEST with the field and the number that is wrong.
        """
        if width <= 0 or height <= 0:
            _refuse(f"CameraInfo says the image is {width}x{height}; the camera driver has not set its size")
        k = _numbers("K", K, 9)
        model = parse_distortion_model(distortion_model) if len(D) else DistortionModel.NONE
        coefficients = tuple(_numbers("D", D, len(D)))
        if rectified:
            p = _numbers("P", P, 12).reshape(3, 4)
            if len(R) and np.any(np.asarray(R, dtype=np.float64)):
                turn = _numbers("R", R, 9).reshape(3, 3)
                if not np.allclose(turn @ turn.T, np.eye(3), atol=1e-3):
                    _refuse("CameraInfo.R is not a rotation")
            if not p.any():
                if any(coefficients):
                    _refuse("CameraInfo.P is zero: the rectified image of a distorted camera needs it; choose the raw topic instead")
                p = np.hstack([k.reshape(3, 3), np.zeros((3, 1))])
            if abs(p[0, 3]) > 1e-6 * abs(p[0, 0]) or abs(p[1, 3]) > 1e-6 * abs(p[1, 1]):
                _refuse(
                    f"CameraInfo.P has Tx = {p[0, 3]:g}, Ty = {p[1, 3]:g}: this is the second camera of a stereo pair, whose P projects "
                    "points of the first camera's frame; use the topic of the first camera"
                )
            matrix, model, coefficients = p[:, :3], DistortionModel.NONE, ()
        else:
            matrix = k.reshape(3, 3)
        name = "P" if rectified else "K"
        if not matrix.any():
            _refuse(f"CameraInfo.{name} is zero: the camera is not calibrated")
        if abs(matrix[2, 2] - 1) > 1e-6 or matrix[1, 0] or matrix[2, 0] or matrix[2, 1] or abs(matrix[0, 1]) > 1e-9 * abs(matrix[0, 0]):
            _refuse(f"CameraInfo.{name} is not of the form [fx 0 cx; 0 fy cy; 0 0 1]: {matrix.tolist()}")
        full = CameraModel(matrix[0, 0], matrix[1, 1], matrix[0, 2], matrix[1, 2], width, height, model, coefficients)
        x, y, roi_width, roi_height = (int(value) for value in roi[:4])
        roi_width, roi_height = roi_width or width - x, roi_height or height - y
        if x < 0 or y < 0 or roi_width <= 0 or roi_height <= 0 or x + roi_width > width or y + roi_height > height:
            _refuse(f"CameraInfo.roi {roi_width}x{roi_height} at ({x}, {y}) does not fit into the {width}x{height} image")
        bx, by = max(int(binning_x), 1), max(int(binning_y), 1)
        if bx > roi_width or by > roi_height:
            _refuse(f"CameraInfo.binning {bx}x{by} is larger than the image {roi_width}x{roi_height}")
        cut = full.cropped(x, y, roi_width // bx * bx, roi_height // by * by)
        return cut if bx == by == 1 else cut.scaled(roi_width // bx, roi_height // by)


def parse_distortion_model(name: str) -> DistortionModel:
    """Distortion model of a CameraInfo or calibration-file name.

    Raises:
        Refused: BAD_REQUEST listing the known names.
    """
    key = name.strip().lower().replace("-", "_").replace(" ", "_")
    model = _ALIASES.get(key) if key in _ALIASES else next((m for m in DistortionModel if m.value == key), None)
    if model is None:
        known = ", ".join(m.value for m in DistortionModel)
        raise Refused(Status.BAD_REQUEST, f"the distortion model {name!r} is not supported; known: {known}")
    return model


def _numbers(name: str, values: Sequence[float], count: int) -> FloatArray:
    array = np.asarray(values, dtype=np.float64).reshape(-1)
    if array.size != count:
        _refuse(f"CameraInfo.{name} has {array.size} numbers, {count} are needed")
    if not np.all(np.isfinite(array)):
        _refuse(f"CameraInfo.{name} has a number that is not finite")
    return array


def _refuse(sentence: str) -> None:
    raise Refused(Status.BAD_REQUEST, sentence)
