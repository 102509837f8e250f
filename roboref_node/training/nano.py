"""The nano's training run: dense pre-training of the towers, then language with fading auxiliary losses."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, cast

import torch
from accelerate import Accelerator
from torch import Tensor
from torch.utils.data import DataLoader
from transformers import PreTrainedTokenizerFast

import roboref_node.model
from roboref_node.model.config import RoboReferConfig
from roboref_node.model.modeling import RoboReferModel
from roboref_node.sim.appearance import COLOURS
from roboref_node.sim.meshes import SHAPES
from roboref_node.status import Refused, Status
from roboref_node.training import objectives
from roboref_node.training.batches import SLOT, Batch, BatchSettings, PackedBatches
from roboref_node.training.growing import grow
from roboref_node.training.optimisers import MuonAdamW, cosine, count_parameters
from roboref_node.training.packed_attention import PACKED_ATTENTION, slot_mask
from roboref_node.training.packing import IGNORED
from roboref_node.training.run_folder import OWN_PACE, STATE, begin_or_go_on, load_state, save_state, writing
from roboref_node.training.scenes import SceneStore
from roboref_node.training.vocabulary import COORDINATE_BINS, DEPTH, END, IMAGE, CoordinateTokens, build_tokenizer, token_id
from roboref_node.training.workers import end_with_trainer

RGB_PARTS = (True, True, True, False)
DEPTH_PARTS = (True, False, True, True)


@dataclass(frozen=True)
class NanoRecipe:
    """Everything that decides the result of a run.

    Args:
        pretrain_steps: Steps of the towers alone.
        steps: Steps of the whole model.
        attribute_steps: The first of these ask mostly for attributes.
        muon_lr, adamw_lr: Peak learning rates.
        warm_up: Steps of linear warm-up, in both phases.
        auxiliary: Weight of the auxiliary losses, from and to.
        seed: Seed of the initial weights and of the data.
        threads: Threads of torch on a CPU; more than one collapses on a busy machine.
        workers: Processes that prepare batches; 0 = none.
        save_every, log_every: In steps.
        model: Overrides of `RoboReferConfig.nano`.
        batch: Batch settings.
        init: Folder of a nano to start from, ``package:`` in front means inside `roboref_node.model`; "" = random weights. A
            recipe with a larger model than that grows it, see `growing.grow`.
    """

    pretrain_steps: int = 500
    steps: int = 5000
    attribute_steps: int = 600
    muon_lr: float = 2e-3
    adamw_lr: float = 1e-3
    warm_up: int = 100
    auxiliary: tuple[float, float] = (0.5, 0.08)
    seed: int = 0
    threads: int = 1
    workers: int = 1
    save_every: int = 250
    log_every: int = 25
    model: dict[str, Any] = field(default_factory=dict)
    batch: BatchSettings = field(default_factory=BatchSettings)
    init: str = ""

    @staticmethod
    def from_dict(data: dict[str, Any]) -> NanoRecipe:
        """Build from a recipe file's mapping.

        Raises:
            Refused: BAD_REQUEST for an unknown key.
        """
        for given, kind, where in ((data, NanoRecipe, "a recipe of the nano"), (data.get("batch", {}), BatchSettings, "its section batch")):
            if unknown := sorted(set(given) - {f.name for f in fields(kind)}):
                raise Refused(Status.BAD_REQUEST, f"{where} has no setting {unknown[0]!r}")
        batch = BatchSettings(**data.get("batch", {}))
        auxiliary = data.get("auxiliary", NanoRecipe.auxiliary)
        rest = {k: v for k, v in data.items() if k not in ("batch", "auxiliary")}
        return NanoRecipe(batch=batch, auxiliary=(float(auxiliary[0]), float(auxiliary[1])), **rest)


class NanoTrainer:
    """One training run in one folder; a killed run goes on from its last checkpoint.

    Args:
        recipe: What to do.
        store: Rendered training scenes.
        folder: Checkpoints and log.

    Raises:
        Refused: BAD_REQUEST when the scenes were rendered at another size than the recipe's, are too few for a batch, or the run in
            `folder` began with another recipe or number of processes.
    """

    def __init__(self, recipe: NanoRecipe, store: SceneStore, folder: Path) -> None:
        size = recipe.batch.image_size
        if store.size != size:
            advice = f"run `roboref train render --size {size}` into another folder"
            raise Refused(Status.BAD_REQUEST, f"the scenes are {store.size} px wide, the recipe's `image_size` is {size}: {advice}")
        if len(store) < recipe.batch.scenes:
            raise Refused(
                Status.BAD_REQUEST, f"there are {len(store)} scenes, fewer than the {recipe.batch.scenes} of a batch: render more"
            )
        torch.set_num_threads(recipe.threads)
        torch.manual_seed(recipe.seed)
        self.recipe, self.store, self.folder = recipe, store, folder
        self.tokenizer: PreTrainedTokenizerFast = build_tokenizer()
        self.coordinates = CoordinateTokens(self.tokenizer)
        # The towers and the language model are called one by one, so the gradients are averaged here and not by a wrapper of the model.
        self.accelerator = Accelerator()
        self.device = self.accelerator.device
        begin_or_go_on(
            folder, {"recipe": asdict(recipe), "processes": self.accelerator.num_processes}, OWN_PACE,
            begun=(folder / STATE).exists(), first_process=self.accelerator.is_main_process,
        )  # fmt: skip
        self.model = new_nano(self.tokenizer, recipe)
        if recipe.init:
            load_weights(self.model, recipe.init)
        torch.nn.Module.to(self.model, self.device)
        self.model.llm.set_attn_implementation(PACKED_ATTENTION)
        width = self.model.config.text.hidden_size
        self.heads = objectives.AuxiliaryHeads(self.model.config.vision.hidden_size, width).to(self.device)
        words = [f"▁{w}" for w in (*SHAPES, *COLOURS)]
        self.word_ids = torch.tensor(self.tokenizer.convert_tokens_to_ids(words), device=self.device)
        self.optimiser = MuonAdamW(self.model, self.heads, muon_lr=recipe.muon_lr, adamw_lr=recipe.adamw_lr)
        self.step = 0
        folder.mkdir(parents=True, exist_ok=True)
        self.log_file = folder / "log.jsonl"
        state = load_state(folder)
        if state is not None:
            self._resume(state)

    def run(self) -> None:
        """Train to the end of the recipe and write the model."""
        recipe, first_process = self.recipe, self.accelerator.is_main_process
        if first_process:
            size, processes = count_parameters(self.model.parameters()) / 1e6, self.accelerator.num_processes
            print(f"{size:.2f} M parameters, {len(self.store)} scenes, {processes} process{'es' * (processes > 1)}", flush=True)
        total = recipe.pretrain_steps + recipe.steps
        started, first = time.monotonic(), self.step
        batches = self._batches() if self.step < total else iter(())
        for batch in batches:
            metrics = self._train_step(batch)
            self.step += 1
            if self.step % recipe.log_every == 0 and first_process:
                rate = (time.monotonic() - started) / max(1, self.step - first)
                metrics |= {"step": self.step, "s_per_step": round(rate, 3), "left_min": round(rate * (total - self.step) / 60, 1)}
                with self.log_file.open("a") as log:
                    log.write(json.dumps(metrics) + "\n")
                print(json.dumps(metrics), flush=True)
            if (self.step % recipe.save_every == 0 or self.step >= total) and first_process:
                self.save()
            if self.step >= total:
                break
        self.accelerator.wait_for_everyone()

    def save(self) -> None:
        """Write the model as a loadable folder, and the state to go on from."""
        with writing(self.folder / "model"):
            save_nano(self.model, self.tokenizer, self.folder / "model")
        state = {
            "step": self.step,
            "heads": self.heads.state_dict(),
            "model": self.model.state_dict(),
            "optimiser": self.optimiser.state_dict(),
        }
        save_state(self.folder, state)

    def _resume(self, state: dict[str, Any]) -> None:
        self.step = int(state["step"])
        self.model.load_state_dict(state["model"])
        self.heads.load_state_dict(state["heads"])
        self.optimiser.load_state_dict(state["optimiser"])
        print(f"going on from step {self.step}", flush=True)

    def _batches(self) -> Iterator[Batch]:
        recipe = self.recipe
        data = PackedBatches(
            self.store, self.tokenizer, recipe.batch, recipe.seed, start=self.step,
            attribute_batches=recipe.pretrain_steps + recipe.attribute_steps,
            process=self.accelerator.process_index, processes=self.accelerator.num_processes,
        )  # fmt: skip
        ahead = 4 if recipe.workers else None
        return iter(DataLoader(data, None, num_workers=recipe.workers, prefetch_factor=ahead, worker_init_fn=end_with_trainer))

    def _train_step(self, batch: Batch) -> dict[str, float]:
        losses, share = self._backward(batch)
        self._average_gradients()
        norm = self.optimiser.step(share)
        return {**{k: round(float(v.detach()), 4) for k, v in losses.items()}, "norm": round(norm, 2)}

    def _backward(self, batch: Batch) -> tuple[dict[str, Tensor], float]:
        """Gradients of one batch; returns the losses, and the share of the peak learning rates that this step takes."""
        recipe = self.recipe
        self.model.train()
        language = self.step >= recipe.pretrain_steps
        with torch.autocast(self.device.type, dtype=torch.bfloat16):
            losses = self._losses(batch.to(self.device), language)
        if language:
            done = (self.step - recipe.pretrain_steps) / max(1, recipe.steps)
            weight = recipe.auxiliary[0] + (recipe.auxiliary[1] - recipe.auxiliary[0]) * done
            share = cosine(self.step - recipe.pretrain_steps, recipe.steps, recipe.warm_up)
        else:
            weight, share = 1.0, cosine(self.step, recipe.pretrain_steps, recipe.warm_up, floor=0.3)
        auxiliary = [value for name, value in losses.items() if name not in ("token", "hit")]
        loss = weight * torch.stack(auxiliary).sum()
        if "token" in losses:
            loss = loss + losses["token"]
        loss.backward()  # type: ignore[no-untyped-call]
        return losses, share

    def _average_gradients(self) -> None:
        """Over the processes; a parameter that only some of them used, as a tower without depth images, counts as zero elsewhere."""
        if self.accelerator.num_processes == 1:
            return
        parameters = self.optimiser.parameters
        flat = torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in parameters])
        flat = cast(Tensor, self.accelerator.reduce(flat, "mean"))
        for parameter, gradient in zip(parameters, torch.split(flat, [p.numel() for p in parameters]), strict=True):
            parameter.grad = gradient.view_as(parameter)

    def _losses(self, batch: Batch, language: bool) -> dict[str, Tensor]:
        model, heads, settings = self.model, self.heads, self.recipe.batch
        losses: dict[str, Tensor] = {}
        embeddings = model.get_input_embeddings()
        words = embeddings(self.word_ids)
        features = model.tower_tokens(model.vision_tower, batch.rgb)
        rgb = model.mm_projector(features)
        dense = objectives.dense_loss(heads.rgb_dense(features), batch.dense, RGB_PARTS)
        align = objectives.alignment_loss(rgb, words, batch.words, heads)
        media = rgb
        if batch.depth is not None and model.depth_projector is not None:
            tower = model.vision_tower if model.depth_tower is None else model.depth_tower
            depth_features = model.tower_tokens(tower, batch.depth)
            depth = model.depth_projector(depth_features)
            dense = dense + objectives.dense_loss(heads.depth_dense(depth_features), batch.dense, DEPTH_PARTS)
            align = align + 0.5 * objectives.alignment_loss(depth[..., :], words[: len(SHAPES)], batch.words[..., : len(SHAPES)], heads)
            media = torch.cat([depth, rgb] if model.config.media_order == "depth_rgb" else [rgb, depth], dim=1)
        losses["dense"], losses["align"] = 0.5 * dense, align
        if not language:
            return losses
        length = media.shape[1]
        inputs = torch.cat([media, embeddings(batch.tokens).to(media.dtype)], dim=1)
        media_positions = torch.arange(length, device=self.device)[None].expand(batch.tokens.shape[0], -1)
        positions = torch.cat([media_positions, length + batch.position], dim=1)
        mask = slot_mask(torch.unflatten(batch.question, 1, (-1, SLOT)))
        hidden = model.llm.model(
            inputs_embeds=inputs, attention_mask={"full_attention": mask}, position_ids=positions, use_cache=False
        ).last_hidden_state
        text = hidden[:, length:]
        first = length - settings.token_grid**2 if model.config.media_order == "depth_rgb" else 0
        image = hidden[:, first : first + settings.token_grid**2]
        chosen = batch.label != IGNORED
        logits = model.llm.lm_head(text[chosen])
        targets = objectives.TokenTargets(batch.label[chosen], batch.coordinate[chosen], self.coordinates.x0, self.coordinates.y0)
        losses["token"] = objectives.token_loss(logits, targets)
        losses["location"] = 0.3 * objectives.location_loss(
            model.llm.lm_head(image), settings.token_grid, self.coordinates.x0, self.coordinates.y0
        )
        looks = batch.pointer >= 0
        scene = torch.nonzero(looks)[:, 0]
        losses["pointer"] = objectives.pointer_loss(text[looks], image, scene, batch.pointer_target[batch.pointer[looks]], heads)
        if self.step % self.recipe.log_every == self.recipe.log_every - 1:
            losses |= self._teacher_forced_hits(batch, text)
        return losses

    @torch.no_grad()
    def _teacher_forced_hits(self, batch: Batch, text: Tensor) -> dict[str, Tensor]:
        """Share of the answers inside their mask, reference points and x given: a cheap curve, not the benchmark."""
        end = token_id(self.tokenizer, END)
        hits: list[float] = []
        for row in range(batch.tokens.shape[0]):
            for number, mask in enumerate(batch.masks[row]):
                own = torch.nonzero(batch.question[row] == number)[:, 0]
                if not mask.any() or int(batch.label[row, own[-1]]) != end:
                    continue
                predicted = []
                for offset, start in ((3, self.coordinates.x0), (2, self.coordinates.y0)):
                    logits = self.model.llm.lm_head(text[row, own[-offset]])
                    predicted.append(int(logits[start : start + COORDINATE_BINS].argmax()))
                u, v = (int((p + 0.5) / COORDINATE_BINS * mask.shape[1]) for p in predicted)
                hits.append(float(mask[v, u]))
        return {"hit": torch.tensor(sum(hits) / max(1, len(hits)))}


def new_nano(tokenizer: PreTrainedTokenizerFast, recipe: NanoRecipe) -> RoboReferModel:
    """A freshly initialised nano that knows its tokenizer's marker and stop tokens."""
    size = {"image_size": recipe.batch.image_size}
    changes = dict(recipe.model)
    vision = {**size, **changes.pop("vision_config", {})}
    config = RoboReferConfig.nano(
        len(tokenizer),
        vision_config=vision,
        image_token_id=token_id(tokenizer, IMAGE),
        depth_token_id=token_id(tokenizer, DEPTH),
        stop_token_ids=[token_id(tokenizer, END)],
        **{"media_order": "depth_rgb", **changes},
    )
    return RoboReferModel(config)


def load_weights(model: RoboReferModel, folder: str) -> None:
    """Fill `model` with the weights of a folder that `save_nano` wrote.

    Args:
        model: A model of the same vocabulary, as large or larger.
        folder: See `NanoRecipe.init`.

    Raises:
        FileNotFoundError: The folder holds no weights.
        ValueError: The weights cannot be grown to the shape of the model.
    """
    inside = Path(roboref_node.model.__file__).parent
    path = inside / folder.removeprefix("package:") if folder.startswith("package:") else Path(folder)
    if not (path / "model.safetensors").exists():
        raise FileNotFoundError(f"{path / 'model.safetensors'} does not exist; `init` must be a folder with the weights of a nano")
    grow(RoboReferModel.from_pretrained(path, dtype=torch.float32), model)


def save_nano(model: RoboReferModel, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Write weights (fp16 safetensors), configuration and tokenizer as one loadable folder."""
    half = {k: v.detach().to(torch.float16).clone() for k, v in model.state_dict().items()}
    model.save_pretrained(folder, state_dict=half)
    tokenizer.save_pretrained(folder)
