"""The transformers back-end with a real LLaVA of a few thousand parameters, taught within seconds to say one thing."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_llava import LESSON

from roboref_node.pointing.dialect import Dialect
from roboref_node.pointing.registry import load_pointer
from roboref_node.pointing.sent_image import SizeRule
from roboref_node.pointing.transformers_model import TransformersPointer, TransformersSettings
from roboref_node.status import Refused, Status
from roboref_node.task import Task, TaskKind

CUP = Task(TaskKind.PICK, "the red cup", "take the red cup")


pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.fixture
def folder(taught_llava) -> Path:
    return taught_llava


def pointer(folder: Path, dialect: Dialect = Dialect.QWEN3_VL, **changes) -> TransformersPointer:
    return TransformersPointer(TransformersSettings(str(folder), dialect, device="cpu", format_suffix=False, **changes))


def test_a_model_folder_answers_in_its_declared_dialect(folder, frame) -> None:
    answer = pointer(folder).point(frame, CUP)
    assert answer.text == LESSON
    assert (answer.points[0].u_px, answer.points[0].v_px) == pytest.approx((31.5, 11.5))
    assert 0.0 < answer.points[0].score <= 1.0
    assert len(answer.provenance["weights_sha256"]) == 64 and answer.provenance["dialect"] == "qwen3_vl"


def test_the_same_text_in_another_dialect_is_refused_and_not_guessed(folder, frame) -> None:
    for dialect in (Dialect.GEMINI, Dialect.ROBOREFER, Dialect.MOLMO):
        with pytest.raises(Refused) as refusal:
            pointer(folder, dialect).point(frame, CUP)
        assert refusal.value.status is Status.UNPARSEABLE
    with pytest.raises(Refused) as refusal:
        pointer(folder, Dialect.QWEN25_VL, resize=SizeRule(28)).point(frame, CUP)  # absolute pixels: 500 is outside of 64
    assert refusal.value.status is Status.OUT_OF_IMAGE


def test_an_answer_cut_off_by_the_limit_names_the_setting(folder, frame) -> None:
    with pytest.raises(Refused) as refusal:
        pointer(folder, max_new_tokens=9).point(frame, CUP)
    assert refusal.value.status is Status.UNPARSEABLE and "`max_new_tokens`" in refusal.value.sentence


def test_cancelling_ends_the_generation(folder, frame) -> None:
    polls = []
    with pytest.raises(Refused) as refusal:
        pointer(folder).point(frame, CUP, canceled=lambda: len(polls) >= 3 or bool(polls.append(1)))
    assert refusal.value.status is Status.CANCELED


def test_a_model_file_leads_here(folder, frame, tmp_path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(f"backend: transformers\nfolder: {folder}\ndialect: qwen3_vl\ndevice: cpu\nformat_suffix: false\n")
    assert load_pointer(file).point(frame, CUP).text == LESSON


def test_folders_that_hold_no_model(tmp_path, folder) -> None:
    with pytest.raises(Refused) as refusal:
        pointer(tmp_path)
    assert refusal.value.status is Status.MODEL_UNAVAILABLE and "no weights" in refusal.value.sentence
    (tmp_path / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes())
    with pytest.raises(Refused) as refusal:
        pointer(tmp_path)
    assert refusal.value.status is Status.MODEL_UNAVAILABLE and str(tmp_path) in refusal.value.sentence
