"""Batched local surface fit: what surface each of many pixels belongs to, from a small window around it.

Works on inverse depth w = 1/z over image coordinates, where a plane is exactly linear and the noise of structured light and
stereo nearly constant. One code path serves one pixel (about 0.2 ms) and hundreds (about 0.02 ms each): every step is one
NumPy call on the leading axis N.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]

PATCH = 5
"""Side of the patches that vote for the surface of the asked pixel."""
OFF_CENTRE_PENALTY = 1.25
"""A patch around the pixel is preferred to one beside it unless the latter's variance is this much smaller."""

RAMP_PX = np.array([3.0, 4.0, 5.0, 6.0])
"""Distances from the asked pixel at which a narrow slope between two surfaces has ended."""
ROUND_SIGMAS = 0.5
"""A quadratic is fitted no farther out than it departs from a circle by so many noise standard deviations."""
ROUND_LEAST_PX = 3
STEEPEST = 1e6
MIXTURE_SIGMAS = 1.5
"""Largest root mean square residual of a whole region, in noise standard deviations."""


@dataclass(frozen=True, eq=False)
class Stencil:
    """Constant tables of a square window of P = (2 radius + 1)^2 pixels.

    Args:
        radius: Half side in pixels.
        du, dv: Column and row offset of each pixel, shape (P,).
        path: Pixels on the straight way from the centre to each pixel, shape (P, radius), for star-shaped growth.
        patches: Indicator of the nine 5x5 patches that contain the centre, shape (P, 9).
        near: Indices of the eight neighbours of the centre.
        squared: Squared distance of each pixel from the centre, shape (P,).
        close: Pixels within `ROUND_LEAST_PX` of the centre, shape (P,).
        scales: What brings the six powers of a quadratic (1, x, y, x^2, xy, y^2) to the range of -1 to 1, shape (6, 1).
        quadrant: Indicator of the four quadrants within four pixels, shape (P, 4).
        by_distance: All indices, nearest first.
        centre: Index of the centre.
    """

    radius: int
    du: FloatArray
    dv: FloatArray
    path: IntArray
    patches: FloatArray
    near: IntArray
    squared: FloatArray
    close: BoolArray
    scales: FloatArray
    quadrant: FloatArray
    by_distance: IntArray
    centre: int


@lru_cache(maxsize=8)
def stencil(radius: int) -> Stencil:
    """Tables of a window, built once per radius (>= 4)."""
    side = 2 * radius + 1
    dv, du = (a.reshape(-1) for a in np.mgrid[-radius : radius + 1, -radius : radius + 1])
    steps = np.maximum(np.maximum(abs(du), abs(dv)), 1)
    k = np.minimum(np.arange(1, radius + 1), steps[:, None])
    path_u = np.rint(du[:, None] * k / steps[:, None]).astype(int)
    path_v = np.rint(dv[:, None] * k / steps[:, None]).astype(int)
    half = PATCH // 2
    shifts = [(sv, su) for sv in (0, -half, half) for su in (0, -half, half)]
    patches = np.stack([(abs(du - su) <= half) & (abs(dv - sv) <= half) for sv, su in shifts], axis=1)
    close = np.maximum(abs(du), abs(dv)) <= 4
    quadrant = np.stack([close & (su * du >= 0) & (sv * dv >= 0) & (du != 0) & (dv != 0) for su in (-1, 1) for sv in (-1, 1)], axis=1)
    return Stencil(
        radius=radius,
        du=du.astype(np.float64),
        dv=dv.astype(np.float64),
        path=((path_v + radius) * side + path_u + radius).astype(np.int64),
        patches=patches.astype(np.float64),
        near=np.flatnonzero(np.maximum(abs(du), abs(dv)) == 1),
        squared=(du * du + dv * dv).astype(np.float64),
        close=du * du + dv * dv <= ROUND_LEAST_PX**2,
        scales=np.array([1.0, 1.0 / radius, 1.0 / radius, radius**-2, radius**-2, radius**-2])[:, None],
        quadrant=quadrant.astype(np.float64),
        by_distance=np.argsort(du * du + dv * dv, kind="stable"),
        centre=(side * side) // 2,
    )


@dataclass(frozen=True, eq=False)
class FitLimits:
    """Numbers that decide what belongs to a surface; inverse metres and pixels, shape (N,) or scalar.

    Args:
        sigma_w: Standard deviation of inverse depth at each asked pixel, shape (N,).
        patch_sigmas: Largest rms of the best patch, in noise standard deviations.
        seed_sigmas: Largest residual of the asked pixel.
        grow_sigmas: Largest residual of a pixel that joins the region.
        edge_w: Smallest residual of a direct neighbour that counts as another surface, shape (N,).
        lateral_px: Jitter of depth edges; turns into depth noise on slanted surfaces.
        curvature_w: Deviation from the plane that the tightest expected curve reaches at one pixel, per square pixel.
        tilt: Tangent of the angle against the image plane of a surface whose inverse depth changes by one in a pixel, shape (N,).
        max_hole_px: Largest distance from the asked pixel to the nearest known one.
        min_patch: Fewest known pixels of a patch of 25.
    """

    sigma_w: FloatArray
    patch_sigmas: float
    seed_sigmas: float
    grow_sigmas: float
    edge_w: FloatArray
    lateral_px: float
    curvature_w: float
    tilt: FloatArray
    max_hole_px: float
    min_patch: int


@dataclass(frozen=True, eq=False)
class Windows:
    """Depth around N pixels.

    Args:
        w: Inverse depth minus `w_ref`, 0 where unknown, shape (N, P).
        known: Shape (N, P).
        x: Column coordinate relative to the asked point in pixels (exact under lens distortion), shape (N, P).
        y: Row coordinate, likewise.
        w_ref: Inverse depth at the asked pixel or the nearest known one, NaN when there is none, shape (N,).
        hole_px: Distance to that pixel, 0 when the asked one is known, shape (N,).
    """

    w: FloatArray
    known: BoolArray
    x: FloatArray
    y: FloatArray
    w_ref: FloatArray
    hole_px: FloatArray


@dataclass(frozen=True, eq=False)
class SurfaceFits:
    """Result for N pixels. Where `consistent` is False the numbers describe no surface.

    Args:
        consistent: The pixel belongs to one surface and no other one touches it.
        w: Inverse depth at the asked point minus `w_ref`.
        slope: Its derivatives along columns and rows, per pixel, shape (N, 2).
        unit_variance: Variance of `w` for noise of variance one.
        noise: Standard deviation of inverse depth, from the residuals and the noise model together.
        rms: Root mean square residual of the region, inverse metres.
        inliers: Pixels in the region.
        region: Shape (N, P).
        other_w: Inverse depth minus `w_ref` of the strongest competing pixel next to the asked one, NaN when none.
    """

    consistent: BoolArray
    w: FloatArray
    slope: FloatArray
    unit_variance: FloatArray
    noise: FloatArray
    rms: FloatArray
    inliers: IntArray
    region: BoolArray
    other_w: FloatArray


def gather(depth_m: NDArray[np.float32], column: IntArray, row: IntArray, table: Stencil) -> NDArray[np.float32]:
    """Depth windows around pixels inside the image, NaN beyond its border, float32 (N, P)."""
    height, width = depth_m.shape
    r, side = table.radius, 2 * table.radius + 1
    if len(column) == 1:
        u, v = int(column[0]), int(row[0])
        if r <= u < width - r and r <= v < height - r:
            return depth_m[v - r : v + r + 1, u - r : u + r + 1].reshape(1, -1)
    steps = np.arange(-r, r + 1)
    columns, rows = column[:, None] + steps, row[:, None] + steps
    outside_u, outside_v = (columns < 0) | (columns >= width), (rows < 0) | (rows >= height)
    out = depth_m[np.clip(rows, 0, height - 1)[:, :, None], np.clip(columns, 0, width - 1)[:, None, :]]
    if outside_u.any() or outside_v.any():
        out[outside_v[:, :, None] | outside_u[:, None, :]] = np.nan
    return np.asarray(out.reshape(len(column), side * side), dtype=np.float32)


def make_windows(z: NDArray[np.float32], x: FloatArray, y: FloatArray, table: Stencil) -> Windows:
    """Inverse depth relative to the asked pixel, or to the nearest known one."""
    z64 = z.astype(np.float64)
    known = (z64 > 0) & (z64 < np.inf)
    inverse = 1.0 / np.where(known, z64, 1.0)
    w_ref = np.where(known[:, table.centre], inverse[:, table.centre], np.nan)
    hole = np.zeros(len(z))
    missing = np.flatnonzero(np.isnan(w_ref))
    if missing.size:
        nearest = table.by_distance[known[missing][:, table.by_distance].argmax(axis=1)]
        found = known[missing, nearest]
        w_ref[missing] = np.where(found, inverse[missing, nearest], np.nan)
        hole[missing] = np.where(found, np.hypot(table.du[nearest], table.dv[nearest]), np.inf)
    w = (inverse - w_ref[:, None]) * known
    return Windows(w=w, known=known, x=x, y=y, w_ref=w_ref, hole_px=hole)


def fit_surfaces(win: Windows, limits: FitLimits, table: Stencil) -> SurfaceFits:
    """Fit the surface under each asked pixel.

    The flattest of nine 5x5 patches that contain the pixel gives the first plane (a flying pixel fits none of them: its
    column of mixed readings bends every patch it is in); pixels join along straight ways from the asked one as long as they
    stay on that plane, within noise and an allowance for curvature; a quadratic fit to them, trimmed once, gives depth and
    slope at the asked point, unbiased on curved surfaces too.
    """
    x, y, w, known = win.x, win.y, win.w, win.known
    rows = len(w)
    features = np.empty((rows, 10, w.shape[1]))
    features[:, 0] = known
    np.multiply(x, known, out=features[:, 1])
    np.multiply(y, known, out=features[:, 2])
    np.multiply(features[:, 1:3], x[:, None], out=features[:, 3:5])
    np.multiply(features[:, 2], y, out=features[:, 5])
    features[:, 6] = w
    np.multiply(features[:, 1:3], w[:, None], out=features[:, 7:9])
    np.multiply(w, w, out=features[:, 9])

    variance, a, b, c = _best_patch(features @ table.patches, limits.min_patch)
    slope2 = b * b + c * c
    sigma = np.sqrt(limits.sigma_w**2 + limits.lateral_px**2 * slope2)
    residual = np.abs(w - (a[:, None] + b[:, None] * x + c[:, None] * y))
    consistent = variance <= (limits.patch_sigmas * sigma) ** 2
    consistent &= (residual[:, table.centre] <= limits.seed_sigmas * sigma) | (win.hole_px > 0)
    consistent &= win.hole_px <= limits.max_hole_px

    beside = np.where(known[:, table.near], residual[:, table.near], 0.0)
    worst = beside.argmax(axis=1)
    each = np.arange(rows)
    competing = beside[each, worst] > np.maximum(limits.edge_w, limits.seed_sigmas * sigma)
    other = np.where(competing, w[each, table.near[worst]], np.nan)
    consistent &= ~competing
    tolerance = np.maximum(limits.edge_w, limits.seed_sigmas * limits.sigma_w)
    # A flatter plane cannot leave the tolerance within the reach of the test.
    steep = np.flatnonzero(consistent & (RAMP_PX[-1] ** 2 * slope2 > tolerance * tolerance))
    if steep.size:
        consistent[steep] &= ~_is_ramp(win, steep, a[steep], b[steep], c[steep], tolerance[steep], table)

    reach = limits.grow_sigmas * sigma[:, None] + limits.curvature_w * table.squared
    # Unknown pixels neither join nor block the way: dropouts cast no shadow.
    passable = (residual <= reach) | ~known
    region = known.copy()
    blocked = np.flatnonzero(~passable.all(axis=1))
    if blocked.size:
        region[blocked] &= passable[blocked].take(table.path, axis=1).all(axis=2)

    powers = features[:, :6] * table.scales
    # Prior: the quadratic terms stay within the curvature allowance, more for what is seen at an angle; it steadies regions of few pixels.
    prior = np.zeros((rows, 6))
    steepness = np.minimum(1.0 + slope2 * limits.tilt**2, STEEPEST)
    prior[:, 3:] = ((limits.sigma_w / (limits.curvature_w * table.radius**2)) ** 2 / steepness**3)[:, None]
    coefficients, inverse, fitted = _quadratic(powers, w, region, prior)
    kept = region & (np.abs(w - fitted) <= (limits.grow_sigmas * sigma)[:, None])
    trimmed = np.flatnonzero((kept != region).any(axis=1))
    if trimmed.size:
        region = kept
        again = _quadratic(powers[trimmed], w[trimmed], region[trimmed], prior[trimmed])
        coefficients[trimmed], inverse[trimmed], fitted[trimmed] = again

    count = region.sum(axis=1)
    squares = (np.square(w - fitted) * region).sum(axis=1)
    rms = np.sqrt(squares / np.maximum(count, 1))
    used = count
    curved, round_px = _curved(coefficients, consistent, steepness, limits, table.radius)
    if curved.size:
        inner = region[curved] & (table.close | (features[curved, 3] + features[curved, 5] <= np.square(round_px)[:, None]))
        again = _quadratic(powers[curved], w[curved], inner, prior[curved])
        coefficients[curved], inverse[curved] = again[:2]
        used = count.copy()
        used[curved] = inner.sum(axis=1)
        squares[curved] = (np.square(w[curved] - again[2]) * inner).sum(axis=1)
    noise2 = (20.0 * limits.sigma_w**2 + squares) / (20.0 + np.maximum(used - 6, 0))
    # A region that no smooth surface fits within the noise is a mixture.
    consistent &= rms <= MIXTURE_SIGMAS * sigma
    holes = win.hole_px > 0
    if holes.any():
        surrounded = ((region[holes].astype(np.float64) @ table.quadrant) > 0).all(axis=1)
        consistent[holes] &= surrounded
    return SurfaceFits(
        consistent=consistent,
        w=coefficients[:, 0],
        slope=coefficients[:, 1:3] / table.radius,
        unit_variance=inverse[:, 0, 0],
        noise=np.sqrt(np.maximum(noise2, 0.25 * limits.sigma_w**2)),
        rms=rms,
        inliers=count,
        region=region,
        other_w=other,
    )


def _curved(
    coefficients: FloatArray, consistent: BoolArray, steepness: FloatArray, limits: FitLimits, radius: int
) -> tuple[IntArray, FloatArray]:
    """Rows whose surface no quadratic follows over the whole window, and how many pixels it does to within the noise.

    The third and fourth derivatives are those of a circle with the slope and the curvature that were fitted.
    """
    bend = (2.0 / radius**2) * np.sqrt(np.square(coefficients[:, 3:]).sum(axis=1))
    turn = bend * limits.tilt
    per_px3 = bend * turn / (ROUND_SIGMAS * limits.sigma_w)
    # The greatest values that the factors of the slope below can have tell most planes apart.
    index = np.flatnonzero(consistent & (per_px3 * (0.25 + (0.2 * radius) * turn) * radius**3 > 1.0))
    if not index.size:
        return index, np.empty(0)
    slope2 = steepness[index] - 1.0
    third = 0.5 * np.sqrt(slope2) / steepness[index] * per_px3[index]
    fourth = (0.125 + 0.625 * slope2) / np.square(steepness[index]) * per_px3[index] * turn[index]
    reach = np.minimum(1.0 / np.cbrt(np.maximum(third, 1e-9)), fourth**-0.25)
    below = reach < radius
    return index[below], reach[below]


def _is_ramp(win: Windows, rows: IntArray, a: FloatArray, b: FloatArray, c: FloatArray, tolerance: FloatArray, table: Stencil) -> BoolArray:
    """Whether the plane is a narrow slope between two flatter surfaces.

    Three to six pixels uphill the readings fall short of it, downhill they rise above it. A smear between two surfaces
    looks so, and fits a plane perfectly.
    """
    length = np.maximum(np.sqrt(b * b + c * c), 1e-12)
    reach = RAMP_PX[: table.radius - 2]
    u = np.rint((b / length)[:, None] * reach)
    v = np.rint((c / length)[:, None] * reach)
    step = (v * (2 * table.radius + 1) + u).astype(np.int64)
    index = table.centre + np.concatenate([step, -step], axis=1)
    each = rows[:, None]
    residual = win.w[each, index] - (a[:, None] + b[:, None] * win.x[each, index] + c[:, None] * win.y[each, index])
    residual = np.where(win.known[each, index], residual, 0.0)
    uphill, downhill = residual[:, : len(reach)].min(axis=1), residual[:, len(reach) :].max(axis=1)
    return np.asarray((uphill < -tolerance) & (downhill > tolerance))


def _best_patch(sums: FloatArray, min_patch: int) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Residual variance, value at the asked point and slopes of the flattest patch; closed-form 2x2 regression."""
    n = np.maximum(sums[:, 0], 1.0)
    mean = sums[:, 1:] / n[:, None]
    mx, my, mw = mean[:, 0], mean[:, 1], mean[:, 5]
    xx, xy, yy = mean[:, 2] - mx * mx, mean[:, 3] - mx * my, mean[:, 4] - my * my
    xw, yw, ww = mean[:, 6] - mx * mw, mean[:, 7] - my * mw, mean[:, 8] - mw * mw
    det = xx * yy - xy * xy
    usable = (sums[:, 0] >= min_patch) & (det > 0.05)
    det = np.where(usable, det, 1.0)
    b, c = (yy * xw - xy * yw) / det, (xx * yw - xy * xw) / det
    variance = np.maximum(ww - b * xw - c * yw, 0.0) * (n / np.maximum(n - 3.0, 1.0))
    variance = np.where(usable, variance, np.inf)
    score = variance.copy()
    score[:, 1:] *= OFF_CENTRE_PENALTY
    each, best = np.arange(len(n)), score.argmin(axis=1)
    b, c = b[each, best], c[each, best]
    return variance[each, best], mw[each, best] - b * mx[each, best] - c * my[each, best], b, c


def _quadratic(powers: FloatArray, w: FloatArray, region: BoolArray, prior: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Least squares of w on the six powers over the region: coefficients (N, 6), inverse normal matrix, fitted values (N, P)."""
    weighted = powers * region[:, None]
    normal = weighted @ powers.transpose(0, 2, 1)
    diagonal = normal.reshape(-1, 36)[:, ::7]
    # The share of the trace keeps a window whose distortion flings its pixels far apart invertible; elsewhere it is below the constant.
    diagonal += prior + 1e-9 + 1e-12 * diagonal.sum(axis=1)[:, None]
    inverse = np.asarray(np.linalg.inv(normal), dtype=np.float64)
    coefficients = (inverse @ (weighted @ w[:, :, None]))[:, :, 0]
    return coefficients, inverse, (coefficients[:, None] @ powers)[:, 0]
