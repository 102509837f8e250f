"""Supervised fine-tuning of RoboRefer shapes: depth alignment (the depth projector alone), then spatial fine-tuning (everything).

transformers' `Trainer` does the work: accelerate's processes, mixed precision, FSDP or DeepSpeed, gradient accumulation, checkpoints with
optimiser, schedule, random state and place in the data, TensorBoard. Here are only the data, what is trainable and where to go on.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from safetensors import SafetensorError
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments, set_seed

from roboref_node.model.checkpoint import load_model
from roboref_node.model.modeling import RoboReferModel
from roboref_node.status import Refused, Status
from roboref_node.training.optimisers import count_parameters
from roboref_node.training.run_folder import begin_or_go_on
from roboref_node.training.spatial_records import Collator, RecordFile, SpatialRecords

PARTS = ("vision_tower", "mm_projector", "depth_tower", "depth_projector", "llm")
COMPLETE = "complete"
"""File in a checkpoint that is written last: a checkpoint without it was cut off by a kill."""
_PACE = ("max_steps", "num_train_epochs", "save_steps", "save_total_limit", "logging_steps", "report_to", "disable_tqdm")
MAY_CHANGE = ("recipe.threads", *(f"recipe.trainer.{name}" for name in (*_PACE, "dataloader_num_workers")))
"""Settings that a run may go on with other values of."""


@dataclass(frozen=True)
class SftRecipe:
    """One stage.

    Args:
        data: Parts of the mixture, as `RecordFile`; paths are relative to ``--data``.
        trainable: Parts of the model that learn, of `PARTS`.
        depth_from_rgb: Copy colour tower and projector into the depth branch first, as step 1 begins with a model without depth.
        drop_depth: Share of the RGB-D records shown without depth.
        max_turns: Questions per conversation.
        seed: Of order, dropping and dropout.
        threads: Of torch; 0 leaves them as they are.
        trainer: Further `transformers.TrainingArguments`: batch size, learning rate, schedule, precision, `fsdp`, `deepspeed`.

    Raises:
        Refused: BAD_REQUEST.
    """

    data: list[dict[str, Any]]
    trainable: list[str] = field(default_factory=lambda: list(PARTS))
    depth_from_rgb: bool = False
    drop_depth: float = 0.0
    max_turns: int = 15
    seed: int = 0
    threads: int = 0
    trainer: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        unknown = [part for part in self.trainable if part not in PARTS]
        if unknown or not self.trainable:
            raise Refused(Status.BAD_REQUEST, f"trainable holds {unknown or 'nothing'}; the parts are {', '.join(PARTS)}")
        if not self.data:
            raise Refused(Status.BAD_REQUEST, "data lists no file of records")
        if not 0.0 <= self.drop_depth < 1.0:
            raise Refused(Status.BAD_REQUEST, f"drop_depth is {self.drop_depth}, it must lie in [0, 1)")
        if self.drop_depth > 0 and set(self.trainable) <= {"depth_tower", "depth_projector"}:
            raise Refused(Status.BAD_REQUEST, f"drop_depth is {self.drop_depth}, but only the depth branch learns; without depth it cannot")

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> SftRecipe:
        """Build from a recipe file's mapping.

        Raises:
            Refused: BAD_REQUEST for an unknown or a missing key.
        """
        unknown = sorted(set(data) - {f.name for f in fields(SftRecipe)})
        if unknown or "data" not in data:
            raise Refused(Status.BAD_REQUEST, f"a recipe of sft {f'has no setting {unknown[0]!r}' if unknown else 'needs `data`'}")
        return SftRecipe(**data)

    def record_files(self, root: Path) -> list[RecordFile]:
        """The mixture, with paths below `root`.

        Raises:
            Refused: BAD_REQUEST for an unknown or a missing key.
        """
        files = []
        for part in self.data:
            if not {"file", "images"} <= set(part) <= {"file", "images", "depths", "repeat"}:
                raise Refused(Status.BAD_REQUEST, f"a part of `data` needs file and images, and may have depths and repeat: {sorted(part)}")
            depths = root / part["depths"] if part.get("depths") else None
            files.append(RecordFile(root / part["file"], root / part["images"], depths, int(part.get("repeat", 1))))
        return files


def run_sft(recipe: SftRecipe, *, weights: Path, data: Path, out: Path) -> None:
    """Train one stage, from the last complete checkpoint in `out` when there is one; the result is ``out/model``.

    Args:
        recipe: What to do.
        weights: Model folder to begin with: ours, or a published checkpoint.
        data: Folder that the recipe's paths are relative to.
        out: Checkpoints, TensorBoard curves, result.

    Raises:
        Refused: MODEL_UNAVAILABLE for weights that cannot be loaded; BAD_REQUEST for a wrong recipe or wrong data, or when the run in
            `out` began with others.
        OSError: The disk is full.
    """
    if recipe.threads:
        torch.set_num_threads(recipe.threads)
    set_seed(recipe.seed)
    arguments = training_arguments(recipe, out)
    # The trainer deletes old checkpoints before the new one is marked; a kill between the two would leave none.
    kept, arguments.save_total_limit = arguments.save_total_limit, None
    model, processor = load_model(weights, device="cpu", dtype="float32", rgb_newline=True, check_memory=False)
    if recipe.depth_from_rgb:
        copy_rgb_to_depth(model)
    freeze_all_but(model, recipe.trainable)
    records = SpatialRecords(
        recipe.record_files(data), processor, drop_depth=recipe.drop_depth, max_turns=recipe.max_turns, seed=recipe.seed
    )
    at_once = arguments.train_batch_size * arguments.world_size
    if len(records) < at_once:
        raise Refused(Status.BAD_REQUEST, f"the data hold {len(records)} records, fewer than the {at_once} that are shown at once")
    last = last_checkpoint(out)
    begin_or_go_on(
        out, {"recipe": asdict(recipe), "processes": arguments.world_size, "records": len(records)}, MAY_CHANGE,
        begun=last is not None, first_process=arguments.process_index == 0,
    )  # fmt: skip
    pad = processor.tokenizer.pad_token_id
    model.train()
    trainer = Trainer(
        model=model, args=arguments, train_dataset=records, data_collator=Collator(0 if pad is None else int(pad)),
        callbacks=[_MarkComplete(kept)],
    )  # fmt: skip
    if trainer.is_world_process_zero():
        learning = count_parameters(p for p in model.parameters() if p.requires_grad) / 1e6
        processes = trainer.accelerator.num_processes
        verb = f"going on from {last.name}" if last else "starting"
        print(f"sft: {verb}, {learning:.2f} M parameters to train, {len(records)} records, {processes} processes", flush=True)
    try:
        trainer.train(resume_from_checkpoint=str(last) if last else None)
        trainer.save_model(str(out / "model"))
    except SafetensorError as error:
        raise OSError(f"cannot write below {out} ({error}); the last complete checkpoint is kept, start again to go on") from error
    if trainer.is_world_process_zero():
        processor.save_pretrained(out / "model")


def last_checkpoint(out: Path) -> Path | None:
    """The newest complete checkpoint; incomplete ones are deleted."""
    for path in out.glob("checkpoint-*"):
        if not (path / COMPLETE).exists():
            shutil.rmtree(path, ignore_errors=True)  # with several processes another one may be faster
    complete = _complete_checkpoints(out)
    return complete[-1] if complete else None


def _complete_checkpoints(out: Path) -> list[Path]:
    """Oldest first."""
    return sorted((p for p in out.glob("checkpoint-*") if (p / COMPLETE).exists()), key=lambda p: int(p.name.rpartition("-")[2]))


def copy_rgb_to_depth(model: RoboReferModel) -> None:
    """Begin the depth branch as a copy of the colour branch.

    Raises:
        Refused: BAD_REQUEST when the model has no depth branch of its own.
    """
    if model.depth_tower is None or model.depth_projector is None:
        raise Refused(Status.BAD_REQUEST, "depth_from_rgb needs a model with a depth tower of its own")
    model.depth_tower.load_state_dict(model.vision_tower.state_dict())
    model.depth_projector.load_state_dict(model.mm_projector.state_dict())


def freeze_all_but(model: RoboReferModel, parts: list[str]) -> None:
    """Only these parts get gradients.

    Raises:
        Refused: BAD_REQUEST when the model has no such part.
    """
    model.requires_grad_(False)
    for part in parts:
        module = getattr(model, part)
        if module is None:
            raise Refused(Status.BAD_REQUEST, f"trainable names {part}, which this model does not have")
        module.requires_grad_(True)


def training_arguments(recipe: SftRecipe, out: Path) -> TrainingArguments:
    """What the trainer is told, from the recipe's `trainer` and our own defaults.

    Raises:
        Refused: BAD_REQUEST: what `trainer` says is not known to transformers, or cannot be had on this machine.
    """
    own: dict[str, Any] = {
        "output_dir": str(out), "seed": recipe.seed, "data_seed": recipe.seed, "remove_unused_columns": False, "logging_steps": 1,
        "report_to": ["tensorboard"], "save_strategy": "steps", "lr_scheduler_type": "cosine", "weight_decay": 0.0,
        # Records without depth leave the depth branch without gradients.
        "ddp_find_unused_parameters": True, "dataloader_drop_last": True,
    }  # fmt: skip
    try:
        return TrainingArguments(**{**own, **recipe.trainer})
    except TypeError as error:
        raise Refused(Status.BAD_REQUEST, f"`trainer` is not a set of transformers.TrainingArguments: {error}") from error
    except ValueError as error:
        hint = "; without a GPU it takes use_cpu: true and bf16: false" if "use_cpu" in str(error) else ""
        raise Refused(Status.BAD_REQUEST, f"`trainer` of the recipe is refused by transformers: {error}{hint}") from error


class _MarkComplete(TrainerCallback):
    """Marks a checkpoint once all of it is written, and deletes old ones only then.

    Args:
        kept: Number of checkpoints to keep; None keeps all.
    """

    def __init__(self, kept: int | None) -> None:
        self.kept = kept

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        PartialState().wait_for_everyone()  # each process writes a part
        if not state.is_world_process_zero:
            return
        out = Path(str(args.output_dir))
        (out / f"checkpoint-{state.global_step}" / COMPLETE).touch()
        for old in _complete_checkpoints(out)[: -max(1, self.kept)] if self.kept else ():
            (old / COMPLETE).unlink()  # first, so that a kill leaves no half of a checkpoint that looks whole
            shutil.rmtree(old, ignore_errors=True)
