"""The local back-end with a real, small model of random weights: constrained to well-formed answers, it always points somewhere."""

from __future__ import annotations

import gc
import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch

from roboref_node.frame import Frame
from roboref_node.geometry.transform import Transform
from roboref_node.model import Generator
from roboref_node.pointing.local import LocalPointer
from roboref_node.pointing.local_settings import LocalModelSettings, check_weights
from roboref_node.pointing.registry import load_pointer
from roboref_node.pointing.weights_hash import weights_sha256
from roboref_node.status import Refused, Status
from roboref_node.task import Task, TaskKind

CUP = Task(TaskKind.PICK, "the red cup left of the blue box", "pick up the red cup left of the blue box")
PLACE = Task(TaskKind.PLACE, "behind the bowl", "put it behind the bowl")
pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.fixture(scope="session")
def folder(random_nano: Path) -> Path:
    return random_nano


def pointer(folder: Path, **changes) -> LocalPointer:
    return LocalPointer(
        LocalModelSettings(str(folder), **{"threads": 1, "device": "cpu", "format_suffix": False, "max_new_tokens": 96, **changes})
    )


def ask(pointing: LocalPointer, frame: Frame, task: Task = CUP) -> tuple:
    """Points and text of an answer; a refusal when the random weights happen to say so."""
    answer = pointing.point(frame, task)
    return answer.points, answer.text


class TestAnswers:
    def test_an_answer_has_points_inside_the_image_a_score_and_its_origin(self, folder, frame) -> None:
        answer = pointer(folder, think="never").point(frame, CUP)
        for point in answer.points:
            assert 0 <= point.u_px <= 63 and 0 <= point.v_px <= 47 and 0 < point.score <= 1
        assert answer.provenance["weights_sha256"] == weights_sha256(folder)
        assert answer.provenance["depth"] == "sensor"
        assert len(answer.provenance["prompt_sha256"]) == 64
        assert set(answer.timings_ms) == {"prepare", "model"} and min(answer.timings_ms.values()) > 0

    @pytest.mark.parametrize("reuse_frames", [False, True])
    def test_memory_that_runs_out_over_the_picture_is_a_refusal_too(self, folder, frame, reuse_frames: bool) -> None:
        """The towers need the most at once. Only a GPU raises this by itself, so a layer does it here."""

        def run_out(*_: object) -> None:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")

        pointing = pointer(folder, reuse_frames=reuse_frames)
        layers = pointing.model._generator.model.modules()
        next(layer for layer in layers if isinstance(layer, torch.nn.Conv2d)).register_forward_pre_hook(run_out)
        with pytest.raises(Refused) as refusal:
            pointing.point(frame, CUP)
        assert refusal.value.status is Status.MODEL_UNAVAILABLE
        assert "`tile_budget`" in refusal.value.sentence and "20.00 GiB" in refusal.value.sentence

    def test_reasoning_can_be_required(self, folder, frame) -> None:
        assert pointer(folder, think="always", constrained=True).settings.think == "always"
        try:
            text = pointer(folder, think="always").point(frame, CUP).text
        except Refused as refusal:
            text = refusal.details["answer"]
        assert text.startswith("<think>")

    def test_the_same_question_gets_the_same_answer_with_and_without_reuse_of_the_frame(self, folder, frame) -> None:
        reusing, plain = pointer(folder, think="never"), pointer(folder, think="never", reuse_frames=False)
        for task in (CUP, PLACE, CUP):
            assert ask(reusing, frame, task)[1] == ask(plain, frame, task)[1]

    def test_another_frame_is_looked_at_anew(self, folder, frame) -> None:
        pointing = pointer(folder, think="never")
        other = Frame(255 - frame.rgb, frame.depth_m[::-1].copy(), frame.camera)
        fresh = pointer(folder, think="never").point(other, CUP)
        pointing.point(frame, CUP)
        answer = pointing.point(other, CUP)
        assert answer.text == fresh.text
        assert answer.points[0].score == pytest.approx(fresh.points[0].score, rel=1e-4)

    def test_the_last_frame_is_not_kept_alive(self, folder, frame) -> None:
        pointing = pointer(folder, think="never")
        mine = Frame(frame.rgb, frame.depth_m, frame.camera)
        pointing.point(mine, CUP)
        assert pointing._last_frame() is mine
        del mine
        gc.collect()
        assert pointing._last_frame() is None

    def test_depth_changes_the_model_s_mind_only_when_it_is_used(self, folder, frame) -> None:
        flat = Frame(frame.rgb, np.full_like(frame.depth_m, np.nan), frame.camera)
        with_depth, without = pointer(folder, think="never"), pointer(folder, think="never", use_depth=False)
        assert with_depth.point(frame, CUP).points[0].score != with_depth.point(flat, CUP).points[0].score
        assert without.point(frame, CUP).points[0].score == without.point(flat, CUP).points[0].score
        assert without.point(frame, CUP).provenance["depth"] == "none"
        apart = Frame(frame.rgb, frame.depth_m, frame.camera, depth_camera=frame.camera, color_from_depth=Transform.identity())
        assert with_depth.point(apart, CUP).provenance["depth"] == "none"


class TestRefusals:
    def test_unknown_words_are_not_found_and_named(self, folder, frame) -> None:
        with pytest.raises(Refused) as refusal:
            pointer(folder).point(frame, Task(TaskKind.PICK, "the red flugelhorn", "take the red flugelhorn"))
        assert refusal.value.status is Status.NOT_FOUND
        assert refusal.value.details["unknown_words"] == ["flugelhorn"] and "flugelhorn" in refusal.value.sentence

    def test_canceling_before_and_during_the_answer(self, folder, frame) -> None:
        pointing = pointer(folder)
        for polls in (0, 2):
            seen = iter(range(100))
            with pytest.raises(Refused) as refusal:
                pointing.point(frame, CUP, canceled=lambda polls=polls, seen=seen: next(seen) >= polls)
            assert refusal.value.status is Status.CANCELED

    def test_an_answer_that_is_cut_off_names_the_setting(self, folder, frame) -> None:
        with pytest.raises(Refused) as refusal:
            pointer(folder, think="always", max_new_tokens=2).point(frame, CUP)
        assert refusal.value.status is Status.UNPARSEABLE and "2 tokens (`max_new_tokens`)" in refusal.value.sentence

    def test_missing_weights_name_the_folder_and_the_command(self, tmp_path) -> None:
        with pytest.raises(Refused) as refusal:
            load_pointer("roborefer_2b", folder=str(tmp_path))
        assert refusal.value.status is Status.MODEL_UNAVAILABLE
        assert str(tmp_path) in refusal.value.sentence and "hf download Zhoues/RoboRefer-2B-SFT" in refusal.value.sentence

    def test_a_picture_without_pixels(self, folder, frame) -> None:
        with pytest.raises(Refused, match="the size of its camera") as refusal:
            pointer(folder).point(Frame(np.zeros((0, 64, 3), np.uint8), np.zeros((0, 64), np.float32), frame.camera), CUP)
        assert refusal.value.status is Status.BAD_REQUEST

    def test_a_device_that_is_not_there(self, folder) -> None:
        with pytest.raises(Refused) as refusal:
            pointer(folder, device="cuda:7" if not torch.cuda.is_available() else "xpu:7")
        assert refusal.value.status is Status.MODEL_UNAVAILABLE

    def test_depth_can_be_estimated_from_colour(self, folder, frame, depth_anything) -> None:
        measured, estimated = pointer(folder), pointer(folder, depth_model=str(depth_anything))
        assert measured.point(frame, CUP).provenance["depth"] == "sensor"
        for task in (CUP, CUP):
            assert estimated.point(frame, task).provenance["depth"] == "estimated"
        other = Frame(frame.rgb, np.full_like(frame.depth_m, np.nan), frame.camera)
        assert estimated.point(other, CUP).text == estimated.point(frame, CUP).text, "the camera's depth is for the lift alone"

    def test_a_depth_model_that_is_not_there(self, folder, tmp_path) -> None:
        with pytest.raises(Refused, match="expected a Depth-Anything model") as refusal:
            pointer(folder, depth_model=str(tmp_path / "nothing"))
        assert refusal.value.status is Status.MODEL_UNAVAILABLE

    def test_batches_can_be_made_ready_for(self, folder) -> None:
        """On a GPU; here the caches alone, without graphs."""
        model = pointer(folder).model
        model.expect_batches(5)
        assert model._generator._decoders == {}, "nothing to record where the cache grows"
        model._generator = Generator(model._generator.model, model.processor, fixed_cache=True)
        model.expect_batches(5)
        assert sorted(model._generator._decoders) == [2, 4, 8]

    def test_quantized_weights_are_a_setting(self, folder, monkeypatch) -> None:
        if importlib.util.find_spec("torchao") is not None:
            pointer(folder, quantize="int8")  # loads, and begins an answer
        monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
        with pytest.raises(Refused, match="quantize int8 needs the package torchao") as refusal:
            pointer(folder, quantize="int8")
        assert refusal.value.status is Status.MODEL_UNAVAILABLE

    @pytest.mark.parametrize("change", [{"max_new_tokens": 0}, {"threads": -1}, {"think": "sometimes"}, {"quantize": "int3"}])
    def test_settings_out_of_range(self, folder, change: dict) -> None:
        with pytest.raises(Refused) as refusal:
            pointer(folder, **change)
        assert refusal.value.status is Status.BAD_REQUEST


class TestWeightsHash:
    def test_it_depends_on_every_weight_and_is_remembered(self, tmp_path, own_cache) -> None:
        file = tmp_path / "model" / "a.safetensors"
        file.parent.mkdir()
        file.write_bytes(b"1" * 1000)
        first = weights_sha256(file.parent)
        assert weights_sha256(file.parent) == first
        assert (own_cache / "roboref" / "weights_sha256.json").read_text().count(first) == 1
        file.write_bytes(b"1" * 999 + b"2")
        assert weights_sha256(file.parent) != first

    def test_folders_that_are_links_count(self, tmp_path) -> None:
        hashes = []
        for content in (b"1", b"2"):
            root = tmp_path / content.decode()
            (root / "elsewhere").mkdir(parents=True)
            (root / "elsewhere" / "model.safetensors").write_bytes(content)
            for name in ("plain", "linked"):
                (root / name).mkdir()
            (root / "plain" / "llm").mkdir()
            (root / "plain" / "llm" / "model.safetensors").write_bytes(content)
            (root / "linked" / "llm").symlink_to(root / "elsewhere")
            check_weights(root / "linked", "")
            hashes.append(weights_sha256(root / "linked"))
            assert weights_sha256(root / "plain") == hashes[-1] != weights_sha256(root / "elsewhere")
        assert hashes[0] != hashes[1]

    def test_links_in_a_circle_end(self, tmp_path) -> None:
        folder = tmp_path / "model"
        folder.mkdir()
        (folder / "self").symlink_to(folder)
        (folder / "gone.safetensors").symlink_to(tmp_path / "nowhere")
        with pytest.raises(Refused, match="There are no weights"):
            check_weights(folder, "")
        (folder / "a.safetensors").write_bytes(b"1")
        assert len(weights_sha256(folder)) == 64

    def test_a_damaged_cache_is_ignored(self, tmp_path, own_cache) -> None:
        (tmp_path / "a.safetensors").write_bytes(b"1")
        first = weights_sha256(tmp_path)
        (own_cache / "roboref" / "weights_sha256.json").write_text("{broken")
        assert weights_sha256(tmp_path) == first
