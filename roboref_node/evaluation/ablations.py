"""``roboref train ablation``: arms trained with several seeds, asked the same questions, compared with confidence intervals.

Arms and tables are data (``config/train/ablations.yaml``). A finished run is not trained again, so tables share their arms and a killed
command goes on where it was.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from roboref_node.status import Refused, Status

if TYPE_CHECKING:
    from roboref_node.evaluation.bench_pointing import Asked

BOOTSTRAPS = 2000
ARM_KEYS = {"stage", "recipe", "use_depth", "depth_from_rgb"}
TABLE_KEYS = {"claim", "arm", "baselines", "kinds", "minimum_steps"}


@dataclass(frozen=True)
class Comparison:
    """An arm against a baseline on some of the questions; fractions of 1.

    Args:
        arm, baseline: Names.
        questions: Number of questions asked of each run.
        arm_by_seed, baseline_by_seed: Success of each run.
        difference: Mean of arm minus baseline.
        seed_ci95: Student interval of the difference over the seeds.
        scene_ci95: Bootstrap interval over the scenes, runs given.
    """

    arm: str
    baseline: str
    questions: int
    arm_by_seed: tuple[float, ...]
    baseline_by_seed: tuple[float, ...]
    difference: float
    seed_ci95: tuple[float, float]
    scene_ci95: tuple[float, float]

    @property
    def verdict(self) -> str:
        """``holds`` or ``reversed`` when both intervals lie on one side of 0, else ``not shown``."""
        if min(self.seed_ci95[0], self.scene_ci95[0]) > 0:
            return "holds"
        return "reversed" if max(self.seed_ci95[1], self.scene_ci95[1]) < 0 else "not shown"


def compare(
    arm: str, baseline: str, arm_hits: NDArray[np.bool_], baseline_hits: NDArray[np.bool_], scenes: NDArray[np.int64], *, seed: int = 0
) -> Comparison:
    """Paired comparison.

    Args:
        arm: Name.
        baseline: Name.
        arm_hits: Whether each question was answered rightly by each run, (seeds, N).
        baseline_hits: Same shape, same questions.
        scenes: Scene of each question, (N,).
        seed: Of the bootstrap.

    Raises:
        ValueError: There are fewer than two seeds or no question.
    """
    if arm_hits.shape != baseline_hits.shape or arm_hits.shape[0] < 2 or not arm_hits.shape[1]:
        raise ValueError(f"cannot compare runs of shapes {arm_hits.shape} and {baseline_hits.shape}: two seeds and a question are needed")
    by_seed = arm_hits.mean(1) - baseline_hits.mean(1)
    spread = float(by_seed.std(ddof=1)) / len(by_seed) ** 0.5
    reach = float(stats.t.ppf(0.975, len(by_seed) - 1)) * spread
    per_question = arm_hits.mean(0) - baseline_hits.mean(0)
    names, group = np.unique(scenes, return_inverse=True)
    sums, counts = np.bincount(group, per_question), np.bincount(group)
    draws = np.random.default_rng(seed).integers(len(names), size=(BOOTSTRAPS, len(names)))
    means = sums[draws].sum(1) / counts[draws].sum(1)
    middle = float(by_seed.mean())
    low, high = (float(x) for x in np.percentile(means, (2.5, 97.5)))
    return Comparison(
        arm, baseline, arm_hits.shape[1], tuple(map(float, arm_hits.mean(1))), tuple(map(float, baseline_hits.mean(1))), middle,
        (middle - reach, middle + reach), (low, high),
    )  # fmt: skip


def run_table(
    name: str, settings: Mapping[str, Any], *, seeds: int, scenes: Path, init: Path, out: Path, questions: int
) -> tuple[list[Comparison], dict[str, Any]]:
    """Train what is missing, ask what was not asked, compare.

    Args:
        name: A table of `settings`.
        settings: Content of ``ablations.yaml``.
        seeds: Runs per arm, at least 2.
        scenes: Rendered training scenes.
        init: Weights that every arm begins with.
        out: One folder per arm and seed.
        questions: Questions asked of each run, of the table's kinds equally often, on reserved scenes.

    Returns:
        The comparisons, and a JSON object.

    Raises:
        Refused: BAD_REQUEST for an unknown table or a wrong setting.
    """
    table = _checked_table(name, settings)
    if seeds < 2:
        raise Refused(Status.BAD_REQUEST, f"--seeds is {seeds}; an interval needs at least 2")
    _begin(out, init, settings)
    asked: list[Asked] | None = None
    arms, minimum = [table["arm"], *table["baselines"]], int(table.get("minimum_steps", 1))
    hits: dict[str, NDArray[np.bool_]] = {}
    for seed in range(seeds):
        for arm in arms:
            _train(settings["arms"][arm], seed, scenes, init, out / f"{arm}_{seed}")
    for arm in arms:
        rows = []
        for seed in range(seeds):
            settings_of_arm = settings["arms"][arm]
            # Weights that are not trained are the same for every seed.
            folder = out / (arm if settings_of_arm["stage"] == "none" else f"{arm}_{seed}")
            file = folder / f"answers_{'-'.join(table['kinds'])}_{minimum}_{questions}.json"
            if not file.exists():
                asked = asked or draw(questions, table["kinds"], minimum)
                weights = init if settings_of_arm["stage"] == "none" else folder / "model"
                found = _answer(weights, asked, use_depth=settings_of_arm.get("use_depth", True))
                folder.mkdir(parents=True, exist_ok=True)
                rows_of_file = [
                    {"kind": a.question.kind, "steps": a.question.steps, "scene": int(a.frame.stamp_ns), "hit": hit}
                    for a, hit in zip(asked, found, strict=True)
                ]
                _write(file, rows_of_file)
            rows.append(json.loads(file.read_text()))
        hits[arm] = np.array([[question["hit"] for question in row] for row in rows], dtype=bool)
        scene = np.array([question["scene"] for question in rows[0]], dtype=np.int64)
    comparisons = [compare(table["arm"], baseline, hits[table["arm"]], hits[baseline], scene) for baseline in table["baselines"]]
    return comparisons, {
        "table": name, "claim": table["claim"], "seeds": seeds,
        "comparisons": [{**vars(c), "verdict": c.verdict} for c in comparisons],
    }  # fmt: skip


def print_table(comparisons: Sequence[Comparison], claim: str) -> None:
    """A person's view, also valid Markdown."""

    def percent(values: Sequence[float], sign: str = "") -> str:
        return " / ".join(f"{100 * v:{sign}.1f}" for v in values)

    print(f"Claim: {claim}.\n")
    columns = ["arm", "baseline", "questions", "arm, per seed (%)", "baseline, per seed (%)", "difference"]
    columns += ["95 % CI, seeds", "95 % CI, scenes", "claim"]
    print(f"| {' | '.join(columns)} |\n{'|---' * len(columns)}|")
    for c in comparisons:
        seed_ci, scene_ci = (f"[{100 * low:+.1f}, {100 * high:+.1f}]" for low, high in (c.seed_ci95, c.scene_ci95))
        print(
            f"| {c.arm} | {c.baseline} | {c.questions} | {percent(c.arm_by_seed)} | {percent(c.baseline_by_seed)} "
            f"| {100 * c.difference:+.1f} | {seed_ci} | {scene_ci} | {c.verdict} |"
        )


def _begin(out: Path, init: Path, settings: Mapping[str, Any]) -> None:
    """Note what the runs in `out` begin with and how they are trained; runs of another beginning are not mixed with them."""
    from roboref_node.pointing.weights_hash import weights_sha256

    out.mkdir(parents=True, exist_ok=True)
    now = {"init": weights_sha256(init), "arms": settings["arms"]}
    note = out / "begun.json"
    if not note.exists():
        _write(note, now)
    elif json.loads(note.read_text()) != json.loads(json.dumps(now)):
        raise Refused(Status.BAD_REQUEST, f"{out} holds runs of other weights or recipes ({note.name}); give another folder with --out")


def _write(file: Path, content: Any) -> None:
    """Whole or not at all: what is there counts as done when the command is given again."""
    temporary = file.with_suffix(".tmp")
    temporary.write_text(json.dumps(content))
    temporary.replace(file)


def _checked_table(name: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    tables, arms = settings.get("tables", {}), settings.get("arms", {})
    if name not in tables:
        raise Refused(Status.BAD_REQUEST, f"there is no table {name!r}; known are {', '.join(tables)}")
    table: dict[str, Any] = dict(tables[name])
    if unknown := sorted(set(table) - TABLE_KEYS):
        raise Refused(Status.BAD_REQUEST, f"table {name} has no setting {unknown[0]!r}")
    for arm in (table["arm"], *table["baselines"]):
        if arm not in arms:
            raise Refused(Status.BAD_REQUEST, f"table {name} names the arm {arm!r}; known are {', '.join(arms)}")
        if unknown := sorted(set(arms[arm]) - ARM_KEYS):
            raise Refused(Status.BAD_REQUEST, f"arm {arm} has no setting {unknown[0]!r}")
        if arms[arm].get("stage") not in ("none", "nano", "rft"):
            raise Refused(Status.BAD_REQUEST, f"arm {arm}: stage must be none, nano or rft, not {arms[arm].get('stage')!r}")
    return table


def _train(arm: Mapping[str, Any], seed: int, scenes: Path, init: Path, folder: Path) -> None:
    """Train one run, unless it is finished."""
    done = folder / "finished"
    if arm["stage"] == "none" or done.exists():
        return
    from roboref_node.training.nano import NanoRecipe
    from roboref_node.training.nano_sft import continued_nano
    from roboref_node.training.rft import RftRecipe, RftTrainer
    from roboref_node.training.rft_questions import open_source
    from roboref_node.training.scenes import SceneStore

    recipe = {**copy.deepcopy(arm["recipe"]), "seed": seed}
    print(f"training {folder.name}", flush=True)
    if arm["stage"] == "rft":
        settings = RftRecipe.from_dict(recipe)
        RftTrainer(settings, open_source(settings, scenes, None), init, folder).run()
    else:
        depth_from_rgb = bool(arm.get("depth_from_rgb", False))
        continued_nano(NanoRecipe.from_dict(recipe), SceneStore(scenes), init, folder, depth_from_rgb=depth_from_rgb).run()
    done.touch()


def draw(questions: int, kinds: Sequence[str], minimum_steps: int) -> list[Asked]:
    """Questions of these kinds, equally often, about scenes of reserved seeds; up to two of a kind about one scene.

    Raises:
        Refused: BAD_REQUEST for an unknown kind.
    """
    from roboref_node.evaluation.bench_pointing import Asked
    from roboref_node.frame import Frame
    from roboref_node.sim.noise import add_depth_noise
    from roboref_node.sim.render import SceneRenderer
    from roboref_node.sim.scene import sample_scene
    from roboref_node.synth.questions import KINDS, Asker
    from roboref_node.synth.split import RESERVED_PAIRS, reserved_seeds
    from roboref_node.synth.view import SceneView

    if unknown := sorted(set(kinds) - set(KINDS)):
        raise Refused(Status.BAD_REQUEST, f"there is no kind of question {unknown[0]!r}; known are {', '.join(KINDS)}")
    print(f"drawing {questions} questions on reserved scenes", flush=True)
    renderer = SceneRenderer(320, 240)
    left = {kind: -(-questions // len(kinds)) for kind in kinds}
    asked: list[Asked] = []
    for number, seed in enumerate(reserved_seeds(20 * questions)):
        if not any(left.values()):
            break
        rng = np.random.default_rng([seed, 17])
        rendered = renderer.render(sample_scene(seed, excluded_pairs=RESERVED_PAIRS))
        view = SceneView(rendered)
        depth = add_depth_noise(rendered.depth_m, np.random.default_rng([seed, 18]))
        frame = Frame(rendered.rgb.copy(), depth, view.camera, stamp_ns=number)
        asker = Asker(view, rng, canonical=False, unknown_word=partial(_unknown_word, rng))
        for kind in kinds:
            found: dict[str, Asked] = {}
            for _ in range(8):
                question = asker.ask(kind)
                if question is not None and question.steps >= minimum_steps and len(found) < min(2, left[kind]):
                    found.setdefault(question.expression, Asked(question, frame, False))
            left[kind] -= len(found)
            asked += found.values()
    return asked


def _answer(weights: Path, asked: Sequence[Asked], *, use_depth: bool) -> list[bool]:
    """Whether each question is answered rightly; all questions about one frame run in one batch."""
    from roboref_node.model import Generator, TokenGrammar, load_model, point_answer
    from roboref_node.pointing.dialect import Dialect
    from roboref_node.pointing.parser import parse_points
    from roboref_node.pointing.prompt import build_prompt
    from roboref_node.pointing.sent_image import model_depth
    from roboref_node.task import Task, TaskKind

    model, processor = load_model(weights, device="cpu", dtype="float32")
    generator = Generator(model, processor)
    grammar = TokenGrammar(point_answer(think="optional"), processor.tokenizer, model.config.stop_token_ids or ())
    hits = [False] * len(asked)
    frames: dict[int, list[int]] = {}
    for number, item in enumerate(asked):
        frames.setdefault(item.frame.stamp_ns, []).append(number)
    for numbers in frames.values():
        frame = asked[numbers[0]].frame
        depth = model_depth(frame) if use_depth and model.config.use_depth else None
        prompts = []
        for number in numbers:
            question = asked[number].question
            task = Task(TaskKind.PLACE if question.place else TaskKind.POINT, question.expression, question.expression)
            prompts.append(processor(frame.rgb, depth, build_prompt(task, Dialect.ROBOREFER, format_suffix=False)))
        prefix = generator.encode_frame(prompts[0])
        answers = generator.generate_batch(prompts, max_new_tokens=96, grammar=grammar, prefix=prefix)
        for number, answer in zip(numbers, answers, strict=True):
            mask = asked[number].question.mask
            height, width = mask.shape
            try:
                point = parse_points(answer.text, Dialect.ROBOREFER, (width, height)).points[0]
                hits[number] = bool(mask[min(round(point.v_px), height - 1), min(round(point.u_px), width - 1)])
            except Refused as refusal:
                hits[number] = refusal.status is Status.NOT_FOUND and not mask.any()
    return hits


def _unknown_word(rng: np.random.Generator) -> str:
    from roboref_node.synth.language import UNKNOWN_NOUNS

    return str(rng.choice(UNKNOWN_NOUNS))
