"""``roboref import-pcd``: an organised point cloud becomes image files, and a bag that the refer node or ``replay`` can run on.

The bag places the camera where a robot would have it; a cloud does not tell where that was.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from roboref_node.commands.arguments import above_zero, positive
from roboref_node.geometry.camera import CameraModel
from roboref_node.geometry.transform import Transform
from roboref_node.imagefiles import FAR_M, NEAR_M
from roboref_node.picturefiles import write_picture
from roboref_node.rgbd.encoding import in_millimetres
from roboref_node.status import Refused, Status

OPTICAL_FRAME = "camera_color_optical_frame"
START_NS = 1_700_000_000_000_000_000
WORKING_DISTANCE_M = 0.55
"""Where the middle of the scene is put in front of the robot's base: the pose of the camera is not in the file."""


@dataclass(frozen=True, eq=False)
class Cloud:
    """An organised cloud as images.

    Args:
        rgb: uint8 (H, W, 3).
        depth_m: float32 (H, W), NaN = unknown.
        labels: uint32 (H, W), or None when the file carries none.
        camera: Intrinsics.
    """

    rgb: NDArray[np.uint8]
    depth_m: NDArray[np.float32]
    labels: NDArray[np.uint32] | None
    camera: CameraModel


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("pcd", type=Path, help="organised PCD file with colour")
    parser.add_argument("out", type=Path, help="folder for rgb.png, depth.png (16-bit, millimetres), camera.yaml and labels.png")
    parser.add_argument("--width", type=positive, default=640, help="columns, when the file says it has one row (default 640)")
    parser.add_argument("--focal", type=above_zero, default=525.0, help="focal length in pixels (default 525, a Kinect)")
    parser.add_argument("--center", default="", metavar="CX,CY", help="principal point (default: the middle of the image)")
    parser.add_argument("--npy", action="store_true", help="write depth.npy in metres instead of depth.png")
    parser.add_argument("--bag", action="store_true", help="also write out/bag: images, camera infos and /tf_static, mcap")
    parser.add_argument("--frames", type=positive, default=30, help="frames in the bag (default 30)")
    parser.add_argument("--rate", type=above_zero, default=15.0, help="frames per second in the bag (default 15)")


def run(args: argparse.Namespace) -> int:
    """Convert; 0 = written, 2 = the file or an argument is wrong."""
    cloud = read_cloud(args.pcd, width=args.width, focal=args.focal, center=args.center)
    if args.bag:  # first: where there is one already the images beside it stay as they are
        write_bag(cloud, args.out / "bag", frames=args.frames, rate_hz=args.rate)
    write_images(cloud, args.out, npy=args.npy)
    print(f"{args.out}: {cloud.camera.width}x{cloud.camera.height}, {np.isfinite(cloud.depth_m).mean():.0%} of the pixels have depth")
    return 0


def read_cloud(path: Path, *, width: int = 640, focal: float = 525.0, center: str = "") -> Cloud:
    """Read an organised PCD and check that its points lie on the rays of the camera.

    Raises:
        Refused: BAD_REQUEST when the file cannot be read, is not organised, or does not fit the camera.
    """
    import open3d

    if not path.is_file():
        raise Refused(Status.BAD_REQUEST, f"{path} {'is no file' if path.exists() else 'does not exist'}")
    # Without the unknown points the order of rows and columns is lost.
    try:
        cloud = open3d.t.io.read_point_cloud(path, remove_nan_points=False)
    except RuntimeError:
        raise Refused(Status.BAD_REQUEST, f"{path} cannot be read: its header promises more points than memory holds") from None
    if "positions" not in cloud.point:
        raise Refused(Status.BAD_REQUEST, f"{path} is no PCD file with x y z, or not a whole one")
    if "colors" not in cloud.point:
        raise Refused(Status.BAD_REQUEST, f"{path} has no colour: the field rgb or rgba")
    columns = _columns(path) or width
    points = cloud.point["positions"].numpy()
    if columns < 2 or len(points) % columns:
        raise Refused(Status.BAD_REQUEST, f"{path} has {len(points)} points, not a multiple of {columns}: the cloud is not organised")
    xyz = points.reshape(-1, columns, 3)
    height = len(xyz)
    try:
        cx, cy = (float(c) for c in center.split(",")) if center else ((columns - 1) / 2, (height - 1) / 2)
    except ValueError:
        raise Refused(Status.BAD_REQUEST, f"--center {center!r} is not CX,CY") from None
    camera = CameraModel(focal, focal, cx, cy, columns, height)
    depth = np.where(xyz[..., 2] > 0, xyz[..., 2], np.nan).astype(np.float32)
    rows_v, columns_u = np.nonzero(np.isfinite(depth))
    if len(rows_v) == 0:
        raise Refused(Status.BAD_REQUEST, f"no point of {path} is in front of the camera (z above 0)")
    worst = float(np.quantile(np.abs(camera.project(xyz[rows_v, columns_u]) - np.column_stack([columns_u, rows_v])), 0.99))
    if not worst <= 1.0:
        raise Refused(
            Status.BAD_REQUEST,
            f"the points miss their pixels by {worst:.1f} px: --focal, --center or --width is wrong, the cloud is not organised, "
            "or it is not in the optical frame (x right, y down, z forward)",
            error_px=worst,
        )
    middle_m = float(np.nanmedian(depth))
    if not NEAR_M <= middle_m <= FAR_M:
        raise Refused(
            Status.BAD_REQUEST,
            f"the points of {path} are {middle_m:.4g} m away in the median, not {NEAR_M:g} to {FAR_M:g} m: a PCD file holds metres",
        )
    labels = cloud.point["label"].numpy().reshape(height, columns).astype(np.uint32) if "label" in cloud.point else None
    colours = cloud.point["colors"].numpy()
    if colours.dtype != np.uint8:
        colours = np.rint(colours * 255).astype(np.uint8)
    return Cloud(np.ascontiguousarray(colours.reshape(height, columns, 3)), depth, labels, camera)


def _columns(path: Path) -> int | None:
    """Columns of an organised file by its header; None when it says that there is one row."""
    entries: dict[bytes, bytes] = {}
    with path.open("rb") as file:
        for line in file:
            name, _, value = line.strip().partition(b" ")
            entries[name] = value
            if name == b"DATA":
                break
    try:
        return int(entries.get(b"WIDTH", b"0")) if int(entries.get(b"HEIGHT", b"1")) > 1 else None
    except ValueError:
        raise Refused(Status.BAD_REQUEST, f"the header of {path} has a WIDTH or HEIGHT that is no whole number") from None


def write_images(cloud: Cloud, folder: Path, *, npy: bool = False) -> None:
    """Write the files that ``roboref refer`` reads.

    Raises:
        Refused: BAD_REQUEST when a picture cannot be written.
    """
    from roboref_node.geometry.camera_file import save_camera

    folder.mkdir(parents=True, exist_ok=True)
    write_picture(folder / "rgb.png", cloud.rgb)
    if npy:
        np.save(folder / "depth.npy", cloud.depth_m)
    else:
        write_picture(folder / "depth.png", in_millimetres(cloud.depth_m))
    if cloud.labels is not None:
        write_picture(folder / "labels.png", np.minimum(cloud.labels, 65535).astype(np.uint16))
    save_camera(cloud.camera, folder / "camera.yaml")


def base_from_optical(cloud: Cloud) -> Transform:
    """A pose of the camera over a level table: z up from the largest plane, the middle of the scene in front of the base."""
    from roboref_node.geometry.planes import fit_plane_ransac

    v, u = np.nonzero(np.isfinite(cloud.depth_m[::6, ::6]))
    points = cloud.camera.unproject(np.column_stack([u * 6, v * 6]), cloud.depth_m[v * 6, u * 6])
    plane, on = fit_plane_ransac(points, 0.01, np.random.default_rng(0), iterations=128)
    up = plane.facing(np.zeros(3)).normal
    ahead = np.array([0.0, 0.0, 1.0]) - up[2] * up
    if np.linalg.norm(ahead) < 0.1:
        ahead = np.array([0.0, -1.0, 0.0]) + up[1] * up  # Looking straight down: ahead is up in the picture.
    ahead /= np.linalg.norm(ahead)
    rotation = np.stack([ahead, np.cross(up, ahead), up])
    middle = np.median(points[on], axis=0)
    return Transform.from_rotation(rotation, np.array([WORKING_DISTANCE_M, 0.0, 0.0]) - rotation @ middle)


def write_bag(cloud: Cloud, folder: Path, *, frames: int, rate_hz: float) -> None:
    """Write the cloud as a still RGB-D camera: rosbag2, mcap, on the topics that the refer node listens to.

    Raises:
        Refused: BAD_REQUEST when the folder exists already, or the rate is none of a camera.
    """
    from roboref_node.frame import Frame
    from roboref_node.replay.writing import RgbdBagWriter

    if not 0.001 <= rate_hz <= 1000.0:
        raise Refused(Status.BAD_REQUEST, f"--rate is {rate_hz:g} Hz, it must be from 0.001 to 1000 Hz")
    with RgbdBagWriter(folder) as writer:
        writer.add_transform("base_link", OPTICAL_FRAME, START_NS, base_from_optical(cloud), static=True)
        for index in range(frames):
            stamp_ns = START_NS + round((index + 1) * 1e9 / rate_hz)
            writer.add_frame(Frame(cloud.rgb, cloud.depth_m, cloud.camera, stamp_ns=stamp_ns, frame_id=OPTICAL_FRAME))
