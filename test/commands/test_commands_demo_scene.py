"""The scene of ``roboref demo --say``: what the pages promise does not hang on the noise of a frame."""

from __future__ import annotations

import re

import pytest

from roboref_node.commands.demo import SAY_SEED
from roboref_node.frame import Frame
from roboref_node.goals.profile import load_profile
from roboref_node.pipeline import Pipeline, PipelineSettings
from roboref_node.sim.cell import SimulatedCell
from roboref_node.task import parse_instruction

FRAMES = 12


def test_the_sentence_of_the_readme_is_answered_on_every_frame(request: pytest.FixtureRequest) -> None:
    """In the scene before it one frame in thirteen was refused, and the demonstration asks about several."""
    pytest.importorskip("torch")
    from roboref_node.pointing.registry import load_pointer

    said = re.search(r'demo --say "([^"]+)"', (request.config.rootpath / "README.md").read_text(encoding="utf-8"))
    assert said is not None
    tasks = parse_instruction(said[1])
    pipeline = Pipeline(load_pointer("nano_careful"), load_profile("ur5"), PipelineSettings())
    with SimulatedCell(SAY_SEED) as cell:
        for number in range(1, FRAMES + 1):
            cell.step(1 / 15)
            rendered = cell.render()
            frame = Frame(rendered.rgb, rendered.depth_m, cell.camera, stamp_ns=number)
            transforms = dict.fromkeys(pipeline.frames_needed(), cell.base_from_optical)
            answers = pipeline.refer_all(frame, tasks, transforms)
            assert all(answer.ok for answer in answers), [answer.sentence for answer in answers]
