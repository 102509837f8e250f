"""Reinforcement fine-tuning with GRPO: groups of sampled answers, rewards by name, group-normalised advantages, a clipped ratio.

Why this is not TRL's `GRPOTrainer` (looked at in trl 1.16): its forward pass hands the model a closed list of media arguments
(``pixel_values`` and the like, one tower), not colour tiles, depth tiles and the block sizes of both; it reads log-probabilities by
position in ``input_ids``, while a RoboRefer prompt has one marker where the model sees hundreds of spliced tokens; it needs ``generate``
on the model; and it encodes the pictures once per sample, where `rollouts` encodes them once per frame. Replacing these parts would
replace generation, scoring and the loss, and leave nothing of it. The group statistics follow its conventions (sample standard
deviation, epsilon 1e-4); processes, mixed precision and gradient synchronisation are accelerate's.
"""

from __future__ import annotations

import copy
import random
import time
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs
from torch import Tensor

from roboref_node.model.checkpoint import load_model
from roboref_node.model.modeling import RoboReferModel
from roboref_node.pointing.weights_hash import weights_sha256
from roboref_node.status import Refused, Status
from roboref_node.training.grpo import GrpoSettings, grpo_loss, token_weights
from roboref_node.training.optimisers import cosine, count_parameters, finite_norm
from roboref_node.training.rewards import RewardMixture, group_advantages
from roboref_node.training.rft_questions import QuestionSource
from roboref_node.training.rollouts import Rollouts, RolloutScorer, Sampler, target_rows
from roboref_node.training.run_folder import OWN_PACE, STATE, Curves, begin_or_go_on, load_state, save_state, writing

TRAINABLE = ("all", "language")


@dataclass(frozen=True)
class RftRecipe:
    """Everything that decides the result of a run, beside the first weights and the questions.

    Args:
        steps: Optimiser steps, without those of a repeated `updates`.
        frames: Frames per step and process.
        questions: Most questions per frame.
        samples: Answers per question, G.
        temperature: Of sampling; log-probabilities are taken at the same one.
        max_new_tokens: Longest answer.
        updates: Passes over each step's answers; from the second on the ratio differs from 1 and clipping counts.
        skip_equal: Leave out questions whose answers all earn the same (they have no advantage) from the passes.
        learning_rate: Peak of AdamW's.
        warm_up: Steps of linear warm-up, then a cosine.
        weight_decay: AdamW's.
        max_norm: Gradients are clipped to it.
        trainable: ``all``, or ``language``: the language model alone.
        grpo: Loss.
        rewards: Mapping of `RewardMixture.from_mapping`.
        kinds: Of questions about scenes, with weights; not used for recorded questions.
        canonical, drop_depth: See `SceneQuestions`.
        precision: ``no`` (fp32), ``bf16``: accelerate's mixed precision.
        gradient_checkpointing: Recompute activations in the backward pass.
        seed: Of questions and samples.
        threads: Of torch; 0 leaves them as they are.
        save_every, log_every: In steps.

    Raises:
        Refused: BAD_REQUEST.
    """

    steps: int = 200
    frames: int = 8
    questions: int = 4
    samples: int = 8
    temperature: float = 1.0
    max_new_tokens: int = 48
    updates: int = 1
    skip_equal: bool = True
    learning_rate: float = 2e-5
    warm_up: int = 10
    weight_decay: float = 0.0
    max_norm: float = 1.0
    trainable: str = "all"
    grpo: GrpoSettings = field(default_factory=GrpoSettings)
    rewards: dict[str, Any] = field(default_factory=lambda: {"preset": "roborefer"})
    kinds: dict[str, float] = field(default_factory=dict)
    canonical: float = 0.35
    drop_depth: float = 0.22
    precision: str = "no"
    gradient_checkpointing: bool = False
    seed: int = 0
    threads: int = 0
    save_every: int = 20
    log_every: int = 1

    def __post_init__(self) -> None:
        if self.samples < 2:
            raise Refused(Status.BAD_REQUEST, f"samples is {self.samples}; a group needs at least 2 answers")
        if min(self.steps, self.frames, self.questions, self.updates, self.max_new_tokens) < 1 or self.temperature <= 0.0:
            raise Refused(Status.BAD_REQUEST, "steps, frames, questions, updates, max_new_tokens and temperature must be positive")
        if self.trainable not in TRAINABLE:
            raise Refused(Status.BAD_REQUEST, f"trainable is {self.trainable!r}, expected one of {', '.join(TRAINABLE)}")

    @staticmethod
    def from_dict(data: dict[str, Any]) -> RftRecipe:
        """Build from a recipe file's mapping; the section ``grpo`` holds the settings of the loss.

        Raises:
            Refused: BAD_REQUEST for an unknown key.
        """
        rest = {key: value for key, value in data.items() if key != "grpo"}
        for given, kind, where in ((rest, RftRecipe, "a recipe of rft"), (data.get("grpo", {}), GrpoSettings, "its section grpo")):
            unknown = sorted(set(given) - {f.name for f in fields(kind)})
            if unknown:
                raise Refused(Status.BAD_REQUEST, f"{where} has no setting {unknown[0]!r}")
        return RftRecipe(grpo=GrpoSettings(**data.get("grpo", {})), **rest)


class RftTrainer:
    """One run in one folder; a killed run goes on from its last checkpoint.

    Args:
        recipe: What to do.
        source: Questions.
        weights: Folder of the model to begin with; also the reference of the divergence.
        folder: Checkpoints, curves and the result, ``model``.

    Raises:
        Refused: MODEL_UNAVAILABLE when `weights` cannot be loaded; BAD_REQUEST for wrong rewards, or when the run in `folder` began
            with another recipe, reference or number of processes.
    """

    def __init__(self, recipe: RftRecipe, source: QuestionSource, weights: Path, folder: Path) -> None:
        if recipe.threads:
            torch.set_num_threads(recipe.threads)
        # Frames without depth leave the depth tower without gradients.
        parallel = DistributedDataParallelKwargs(find_unused_parameters=True)
        self.accelerator = Accelerator(mixed_precision=recipe.precision, kwargs_handlers=[parallel])
        self.recipe, self.source, self.folder = recipe, source, folder
        self.rewards = RewardMixture.from_mapping(recipe.rewards)
        _seed(recipe.seed)
        self.model, self.processor = load_model(weights, device=self.accelerator.device, dtype="float32")
        self.reference = RolloutScorer(copy.deepcopy(self.model), recipe.temperature).requires_grad_(False) if recipe.grpo.kl > 0 else None
        if recipe.gradient_checkpointing:
            self.model.gradient_checkpointing_enable({"use_reentrant": False})  # type: ignore[no-untyped-call]
        trained = self.model.llm if recipe.trainable == "language" else self.model
        self.model.requires_grad_(False)
        self.parameters = list(trained.requires_grad_(True).parameters())
        optimiser = torch.optim.AdamW(self.parameters, lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
        self.step = 0
        begin_or_go_on(
            folder, self._settings(weights), OWN_PACE, begun=(folder / STATE).exists(), first_process=self.accelerator.is_main_process
        )
        folder.mkdir(parents=True, exist_ok=True)
        state = load_state(folder)
        if state is not None:
            self.step = int(state["step"])
            self.model.load_state_dict(state["model"])
        self.scorer, self.optimiser = self.accelerator.prepare(RolloutScorer(self.model, recipe.temperature), optimiser)
        if state is not None:
            self.optimiser.load_state_dict(state["optimiser"])
            _restore_random(state["random"])
        self.sampler = Sampler(
            self.model, self.processor, samples=recipe.samples, temperature=recipe.temperature, max_new_tokens=recipe.max_new_tokens
        )

    def run(self) -> None:
        """Train to the end of the recipe and write the model."""
        recipe, first = self.recipe, self.accelerator.is_main_process
        if first:
            verb = f"going on from step {self.step}" if self.step else "starting"
            learning, processes = count_parameters(self.parameters) / 1e6, self.accelerator.num_processes
            print(f"rft: {verb}, {learning:.2f} M parameters to train, {processes} processes", flush=True)
        with Curves(self.folder, recipe.steps, self.step, "rft", enabled=first) as curves:
            while self.step < recipe.steps:
                started = time.monotonic()
                values = self._train_step()
                self.step += 1
                if self.step % recipe.log_every == 0:
                    values = {name: self._mean(value) for name, value in values.items()} | {"seconds": time.monotonic() - started}
                    curves.add(self.step, values, ("reward/total", "answer/equal", "kl"))
                if self.step % recipe.save_every == 0 or self.step == recipe.steps:
                    self.save()
        self.accelerator.wait_for_everyone()

    def save(self) -> None:
        """Write the model as a loadable folder, and the state to go on from."""
        if self.accelerator.is_main_process:
            with writing(self.folder / "model"):
                save_model(self.model, self.processor, self.folder / "model")
            trained = {"model": self.model.state_dict(), "optimiser": self.optimiser.state_dict()}
            save_state(self.folder, {"step": self.step, **trained, "random": _random_state()})
        self.accelerator.wait_for_everyone()

    def _settings(self, weights: Path) -> dict[str, Any]:
        """What decides the result; the first weights only where they are the reference, for else the state has replaced them."""
        reference = {"init": weights_sha256(weights)} if self.reference is not None else {}
        return {"recipe": asdict(self.recipe), "processes": self.accelerator.num_processes, **reference}

    def _train_step(self) -> dict[str, float]:
        recipe = self.recipe
        self.model.train(False)  # no dropout, neither while sampling nor while scoring
        rollouts = []
        for place in range(recipe.frames):
            number = self.accelerator.process_index * recipe.frames + place
            seed = np.random.SeedSequence([recipe.seed, self.step, number]).generate_state(1, np.uint64)[0]
            frame = self.source.draw(self.step, number, recipe.questions)
            rollouts.append(self.sampler(frame, torch.Generator().manual_seed(int(seed))))
        advantages, metrics = self._judge(rollouts)
        metrics |= self._update(rollouts, advantages)
        return metrics

    def _judge(self, rollouts: list[Rollouts]) -> tuple[list[Tensor], dict[str, float]]:
        """Advantage of each answer per frame, and what the curves show of the rewards."""
        recipe = self.recipe
        completions = [c for r in rollouts for c in r.completions]
        rewards = self.rewards(completions, [reference for r in rollouts for reference in r.references])
        flat = group_advantages(rewards.total, recipe.samples, scale=recipe.grpo.scale_rewards)
        spread = np.ptp(rewards.total.reshape(-1, recipe.samples), axis=1)
        metrics = {"reward/total": float(rewards.total.mean()), "answer/equal": float((spread < 1e-9).mean())}
        metrics |= {f"reward/{name}": float(part.mean()) for name, part in rewards.parts.items()}
        metrics["answer/tokens"] = float(np.mean([n for r in rollouts for n in r.lengths]))
        metrics["answer/cut_off"] = 1.0 - float(np.mean([f for r in rollouts for f in r.finished]))
        ends = np.cumsum([len(r.completions) for r in rollouts])[:-1]
        return [torch.from_numpy(part).float().to(self.accelerator.device) for part in np.split(flat, ends)], metrics

    def _update(self, rollouts: list[Rollouts], advantages: list[Tensor]) -> dict[str, float]:
        """One or more optimiser steps on sampled answers."""
        recipe = self.recipe
        answers, tokens = self._share(sum(len(r.completions) for r in rollouts), sum(sum(r.lengths) for r in rollouts))
        work: list[tuple[Rollouts, Tensor]] = []
        for r, advantage in zip(rollouts, advantages, strict=True):
            keep = (advantage != 0).tolist() if recipe.skip_equal and recipe.grpo.kl == 0 else [True] * len(advantage)
            if any(keep):
                work.append((r.rows(keep), advantage[torch.tensor(keep)]))
        # Every process takes part in every synchronisation, even one without anything to learn from.
        if not work:
            work = [(rollouts[0], torch.zeros_like(advantages[0]))]
        old: list[Tensor | None] = [None] * len(work)
        reference: list[Tensor | None] = [None] * len(work)
        if recipe.updates > 1 or self.reference is not None:
            with torch.no_grad(), self.accelerator.autocast():
                if recipe.updates > 1:
                    old = [self.scorer(r) for r, _ in work]
                if self.reference is not None:
                    reference = [self.reference(r) for r, _ in work]
        share = cosine(self.step, recipe.steps, recipe.warm_up)
        for group in self.optimiser.param_groups:
            group["lr"] = recipe.learning_rate * share
        metrics = {"loss": 0.0, "kl": 0.0, "clipped": 0.0, "norm": 0.0, "learning_rate": recipe.learning_rate * share}
        for _ in range(recipe.updates):
            for number, (r, advantage) in enumerate(work):
                last = number == len(work) - 1
                with nullcontext() if last else self.accelerator.no_sync(self.scorer):
                    row = target_rows(r)
                    logp = self.scorer(r)
                    before = old[number]
                    weight = token_weights(row, answers, tokens, recipe.grpo.average)
                    result = grpo_loss(
                        logp, logp.detach() if before is None else before, advantage[row], weight, recipe.grpo, reference[number]
                    )
                    self.accelerator.backward(result.loss)
                for name, value in (("loss", result.loss), ("kl", result.kl), ("clipped", result.clipped)):
                    metrics[name] += float(value.detach()) / recipe.updates
            metrics["norm"] += finite_norm(float(self.accelerator.clip_grad_norm_(self.parameters, recipe.max_norm))) / recipe.updates
            self.optimiser.step()
            self.optimiser.zero_grad(set_to_none=True)
        return metrics

    def _share(self, answers: int, tokens: int) -> tuple[float, float]:
        """Answers and tokens per process: gradients are averaged over the processes, so each counts as if one had all the frames."""
        if self.accelerator.num_processes == 1:
            return answers, tokens
        both = self.accelerator.reduce(torch.tensor([answers, tokens], dtype=torch.float32, device=self.accelerator.device), "mean")
        assert isinstance(both, Tensor)
        return float(both[0]), float(both[1])

    def _mean(self, value: float) -> float:
        """Mean over the processes."""
        if self.accelerator.num_processes == 1:
            return value
        reduced = self.accelerator.reduce(torch.tensor(value, device=self.accelerator.device), "mean")
        assert isinstance(reduced, Tensor)
        return float(reduced)


def save_model(model: RoboReferModel, processor: Any, folder: Path) -> None:
    """Write weights (fp16 on the CPU as the nano is shipped, else bf16), configuration and tokenizer as one loadable folder."""
    dtype = torch.float16 if model.device.type == "cpu" else torch.bfloat16
    model.save_pretrained(folder, state_dict={k: v.detach().to(dtype).clone() for k, v in model.state_dict().items()})
    processor.tokenizer.save_pretrained(folder)


def _seed(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def _random_state() -> dict[str, Any]:
    """Torch's generators; nothing else is drawn from global state, questions and samples have generators of their own."""
    return {"cpu": torch.get_rng_state(), "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []}


def _restore_random(state: dict[str, Any]) -> None:
    torch.set_rng_state(state["cpu"])
    if state["cuda"] and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(state["cuda"])
