"""A simulated tabletop: random scenes, their MuJoCo renderer, and an RGB-D camera model. No ROS here; `nodes.sim` publishes it.

`SceneRenderer` lives in `roboref_node.sim.render`, `SimulatedCell` in `roboref_node.sim.cell`: importing them loads MuJoCo.
"""

import os

from roboref_node.sim.appearance import COLOURS as COLOURS
from roboref_node.sim.meshes import SHAPES as SHAPES
from roboref_node.sim.meshes import SIZES as SIZES
from roboref_node.sim.scene import BoxRegion as BoxRegion
from roboref_node.sim.scene import ObjectSpec as ObjectSpec
from roboref_node.sim.scene import SceneSettings as SceneSettings
from roboref_node.sim.scene import SceneSpec as SceneSpec
from roboref_node.sim.scene import sample_scene as sample_scene

# MuJoCo reads this once, when it is imported, and without it wants a display.
os.environ.setdefault("MUJOCO_GL", "egl")
