"""The page itself: viser's scene and panel, without ROS. It shows what it is given and reports what is pressed."""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from roboref_node.console.history import History
from roboref_node.console.server import LocalServer
from roboref_node.geometry.transform import Transform

_AXES_M, _SHAFT_M = 0.07, 0.003
_CANDIDATE_M, _CANDIDATE_SHAFT_M = 0.03, 0.0012
_POINT_M = 0.003
_BUTTONS = ("Send", "Yes, do it", "No", "STOP")


@dataclass(frozen=True)
class Actions:
    """What the page calls when something is pressed; each returns at once.

    Args:
        send: A sentence.
        confirm: Yes (True) or no.
        stop: The stop button.
    """

    send: Callable[[str], None]
    confirm: Callable[[bool], None]
    stop: Callable[[], None]


class Page:
    """A web page on this machine.

    Args:
        actions: What the buttons do.
        host: Address to listen on; the page has no password, so that it stays on this machine unless somebody wants otherwise.
        port: TCP port, 0: the first free one from 8080 on.
    """

    def __init__(self, actions: Actions, *, host: str = "127.0.0.1", port: int = 8080) -> None:
        self._server = LocalServer(host=host, port=port, label="roboref")
        self.history = History()
        self._goals: list[Any] = []
        self._links: dict[str, Any] = {}
        scene, gui = self._server.scene, self._server.gui
        scene.set_up_direction("+z")
        scene.add_grid("/grid", width=2.0, height=2.0, cell_size=0.1, position=(0.5, 0.0, -0.001))
        self._server.initial_camera.position = (1.5, -0.9, 0.9)
        self._server.initial_camera.look_at = (0.4, 0.0, 0.1)
        gui.configure_theme(control_width="large", show_logo=False, show_share_button=False)
        self._instruction = gui.add_text("Instruction", "", hint='for example "pick up the red cup and put it behind the bowl"')
        send, yes, no, stop = (
            gui.add_button(_BUTTONS[0]),
            gui.add_button(_BUTTONS[1], color="green", disabled=True),
            gui.add_button(_BUTTONS[2], color="gray", disabled=True),
            gui.add_button(_BUTTONS[3], color="red"),
        )
        self._asked = (yes, no)
        self._status = gui.add_html("")
        self._image = gui.add_image(np.zeros((48, 64, 3), np.uint8), format="jpeg", jpeg_quality=80)
        self._list = gui.add_html(self.history.to_html())
        send.on_click(lambda _: self._send(actions))
        yes.on_click(lambda _: actions.confirm(True))
        no.on_click(lambda _: actions.confirm(False))
        stop.on_click(lambda _: actions.stop())
        self.show_status("ready", "")

    @property
    def url(self) -> str:
        """Where the page is."""
        return f"http://{self._server.get_host()}:{self._server.get_port()}"

    @property
    def watched(self) -> bool:
        """Somebody has the page open."""
        return bool(self._server.get_clients())

    def close(self) -> None:
        """End the server."""
        self._server.stop()

    def _send(self, actions: Actions) -> None:
        text = self._instruction.value.strip()
        if text:
            self._instruction.value = ""  # type: ignore[misc]  # has a setter, but not right behind its getter, as mypy wants it
            actions.send(text)

    # ---- what it shows -------------------------------------------------------------------------------------------------------

    def show_status(self, state: str, sentence: str, *, asked: bool = False) -> None:
        """One line on what is going on; `asked` opens the yes and no buttons."""
        self._status.content = (
            f'<div id="roboref-status" style="padding:0.25em 0.75em"><b>{html.escape(state)}</b> {html.escape(sentence)}</div>'
        )
        for button in self._asked:
            button.disabled = not asked

    def note(self, instruction: str, status: str, sentence: str) -> None:
        """A line of the history, see `History.note`."""
        self.history.note(instruction, status, sentence)
        self._list.content = self.history.to_html()

    def show_image(self, rgb: NDArray[np.uint8]) -> None:
        """The camera's image, uint8 (H, W, 3)."""
        self._image.image = rgb

    def show_cloud(self, points_m: NDArray[np.float64], colours: NDArray[np.uint8]) -> None:
        """Points in the robot's base frame, shape (N, 3), and their colours."""
        self._server.scene.add_point_cloud("/cloud", points_m.astype(np.float32), colours, point_size=_POINT_M, precision="float32")

    def add_link(self, name: str, mesh: Any) -> None:
        """A link of the robot.

        Args:
            name: Its name.
            mesh: A trimesh, in the link's own frame.
        """
        self._links[name] = self._server.scene.add_mesh_trimesh(f"/robot/{name}", mesh)

    def show_links(self, poses: dict[str, Transform]) -> None:
        """base_from_link of the links that have been added."""
        for name, pose in poses.items():
            handle = self._links.get(name)
            if handle is not None:
                handle.position, handle.wxyz = tuple(pose.translation_m), _wxyz(pose)

    def show_goals(
        self,
        point_m: Sequence[float] | None,
        goal: Transform | None,
        approach: Transform | None,
        candidates: Sequence[Transform],
        text: str,
    ) -> None:
        """The newest answer: its point, the chosen goal with its approach, and the other candidates as small axes."""
        scene = self._server.scene
        for handle in self._goals:
            handle.remove()
        self._goals = []
        if point_m is not None:
            x, y, z = (float(value) for value in point_m)
            self._goals.append(scene.add_icosphere("/answer/point", radius=0.008, color=(255, 60, 200), position=(x, y, z)))
            self._goals.append(scene.add_label("/answer/label", text, position=(x, y, z + 0.08)))
        for index, pose in enumerate(candidates):
            self._add_axes(f"/answer/candidate_{index}", pose, _CANDIDATE_M, _CANDIDATE_SHAFT_M)
        for name, chosen in (("goal", goal), ("approach", approach)):
            if chosen is not None:
                self._add_axes(f"/answer/{name}", chosen, _AXES_M, _SHAFT_M)

    def _add_axes(self, name: str, pose: Transform, length_m: float, radius_m: float) -> None:
        self._goals.append(
            self._server.scene.add_frame(
                name, axes_length=length_m, axes_radius=radius_m, position=tuple(pose.translation_m), wxyz=_wxyz(pose)
            )
        )


def _wxyz(pose: Transform) -> tuple[float, float, float, float]:
    x, y, z, w = (float(q) for q in pose.quaternion_xyzw)
    return w, x, y, z
