"""Camera and TF reception: a node of their own, spun alone on a thread of its own."""

# mypy: disable-error-code="no-untyped-call"
from __future__ import annotations

import threading

from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from tf2_ros import TransformListener

from roboref_node.ros import qos
from roboref_node.ros.frames import CameraTopics, FrameStore
from roboref_node.ros.process import spin
from roboref_node.ros.settings import CameraSettings, Reliability, Transport
from roboref_node.ros.transform_buffer import TransformBuffer
from roboref_node.ros.transforms import TransformSource

COLOR, COLOR_INFO = "camera/color/image_raw", "camera/color/camera_info"
DEPTH, DEPTH_INFO = "camera/aligned_depth_to_color/image_raw", "camera/aligned_depth_to_color/camera_info"
"""Topic names before remapping: those of realsense-ros, relative to the node's namespace."""


def resolved_topics(node: Node, settings: CameraSettings) -> CameraTopics:
    """Topic names after the remappings and the namespace of `node`; remap the base name, as with image_transport."""
    color_compressed = settings.color_transport is Transport.COMPRESSED
    depth_compressed = settings.depth_transport is Transport.COMPRESSED
    return CameraTopics(
        color=node.resolve_topic_name(COLOR) + ("/compressed" if color_compressed else ""),
        color_info=node.resolve_topic_name(COLOR_INFO),
        depth=node.resolve_topic_name(DEPTH) + ("/compressedDepth" if depth_compressed else ""),
        depth_info=node.resolve_topic_name(DEPTH_INFO),
        color_compressed=color_compressed,
        depth_compressed=depth_compressed,
        reliable=settings.image_reliability is Reliability.RELIABLE,
    )


class CameraReceiver:
    """Live subscriptions to the camera and to TF, from construction to `close`.

    Images must not share an executor with anything that can be slow, and a multi-threaded executor loses most of them.

    Args:
        node: The node on whose behalf it receives: its namespace, remappings and clock count.
        settings: Parameters.
    """

    def __init__(self, node: Node, settings: CameraSettings) -> None:
        def now_ns() -> int:
            return int(node.get_clock().now().nanoseconds)

        # Global arguments (a new node name, parameters) are meant for `node`; only the remapped names are passed on.
        remaps = [x for topic in ("/tf", "/tf_static") for x in ("-r", f"{topic}:={node.resolve_topic_name(topic)}")]
        self._node = Node(
            f"{node.get_name()}_camera",
            context=node.context,
            namespace=node.get_namespace(),
            cli_args=["--ros-args", *remaps],
            use_global_arguments=False,
            enable_rosout=False,
            start_parameter_services=False,
            parameter_overrides=[Parameter("start_type_description_service", value=False)],
        )
        self.frames = FrameStore(
            self._node, resolved_topics(node, settings), slop_s=settings.sync_slop_s, keep=settings.frame_buffer, now_ns=now_ns
        )
        # The buffer gets the main node: its clock tells of jumps in simulated time, after which old transforms are dropped.
        buffer = TransformBuffer(settings.tf_cache_s, node)
        self._buffer = buffer
        self._listener = TransformListener(buffer, self._node, qos=qos.MOVING_TRANSFORMS, static_qos=qos.STATIC_TRANSFORMS)
        self.transforms = TransformSource(buffer, settings.tf_timeout_s, explain=self._explain_transforms)
        self._executor = SingleThreadedExecutor(context=node.context)
        self._executor.add_node(self._node)
        self._thread = threading.Thread(target=spin, args=(self._executor, self._node), name="roboref_camera", daemon=True)
        self._thread.start()

    def _explain_transforms(self) -> str:
        """One clause on why TF may be incomplete: nobody publishes it, or the QoS of who does so does not match; else ""."""
        topics = {
            self._node.resolve_topic_name("/tf"): qos.MOVING_TRANSFORMS,
            self._node.resolve_topic_name("/tf_static"): qos.STATIC_TRANSFORMS,
        }
        reasons = [reason for topic, profile in topics.items() if (reason := qos.explain_mismatch(self._node, topic, profile))]
        if not any(self._node.count_publishers(topic) for topic in topics):
            reasons.append(f"nobody publishes {' or '.join(topics)}")
        return "; ".join(reasons)

    def close(self) -> None:
        """End the subscriptions and the thread."""
        self._executor.shutdown(timeout_sec=2.0)
        self._thread.join(2.0)
        self._listener.unregister()
        self._buffer.close()
        self._node.destroy_node()
