"""The simulated bench: questions on scenes of reserved seeds, streamed scene by scene, and the figures made of their answers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from roboref_node.frame import Frame
from roboref_node.sim.noise import add_depth_noise
from roboref_node.sim.render import SceneRenderer
from roboref_node.sim.scene import SceneSettings, sample_scene
from roboref_node.status import Refused
from roboref_node.synth.language import DIRECTIONS, UNKNOWN_NOUNS
from roboref_node.synth.questions import KINDS, Asker, Question
from roboref_node.synth.split import RESERVED_PAIRS, reserved_seeds
from roboref_node.synth.view import SceneView
from roboref_node.task import parse_instruction

LOCATE_KINDS = tuple(kind for kind in KINDS if not kind.startswith("free_") and kind not in ("container", "absent"))
FREE_KINDS = ("free_space", "free_between", "free_chain")
WORDINGS = ("canonical", "synonyms", "sentence")
GENERAL, PAIR, UNKNOWN, WORDING = "general", "pair", "unknown", "wording"

_PER_SCENE = 7
_ATTEMPTS = 12
_RESAMPLES = 1000


@dataclass(frozen=True, eq=False)
class Asked:
    """One question with what it counts for.

    Args:
        question: The question and its truth.
        frame: The look it is about.
        scene: Number of the scene.
        purpose: ``general``: every kind equally often; ``pair``: about an object of a reserved colour-shape pair; ``unknown``: a noun
            that the model cannot know; ``wording``: one of several wordings of the same question.
        unseen: Whether the object asked for has a reserved pair.
        wording: One of `WORDINGS`. A sentence goes through `task.parse_instruction` (and is one that it takes: what it refuses, it
            refuses whatever the model), the others are given as expressions.
    """

    question: Question
    frame: Frame
    scene: int
    purpose: str = GENERAL
    unseen: bool = False
    wording: str = "synonyms"


def draw_scenes(count: int, appearance: str = "train", *, start: int = 0, size: tuple[int, int] = (640, 480)) -> Iterator[list[Asked]]:
    """At least `count` questions, one list per scene; every other scene holds an object of a reserved pair.

    Args:
        count: Number of questions.
        appearance: Family of textures and lights, see `SceneSettings`.
        start: First seed to look at.
        size: Width and height of the images in pixels.
    """
    settings = SceneSettings(appearance=appearance)
    pairs = sorted(RESERVED_PAIRS)
    counts: Counter[str] = Counter(dict.fromkeys(KINDS, 0))
    found = 0
    with SceneRenderer(*size) as renderer:
        for number, seed in enumerate(reserved_seeds(count, start)):
            pair = pairs[(number // 2) % len(pairs)] if number % 2 else None
            rendered = renderer.render(sample_scene(seed, excluded_pairs=RESERVED_PAIRS, required_pair=pair, settings=settings))
            depth = add_depth_noise(rendered.depth_m, np.random.default_rng([seed, 8]))
            frame = Frame(rendered.rgb.copy(), depth, rendered.spec.camera.scaled(*size), stamp_ns=number)
            asked = list(_draw_scene(SceneView(rendered), frame, seed, number, counts))[: count - found]
            found += len(asked)
            yield asked
            if found >= count:
                return


def _draw_scene(view: SceneView, frame: Frame, seed: int, number: int, counts: Counter[str]) -> Iterator[Asked]:
    rng = np.random.default_rng([seed, 7])
    unknown: list[str] = []

    def unknown_word() -> str:
        unknown.append(UNKNOWN_NOUNS[int(rng.integers(len(UNKNOWN_NOUNS)))])
        return unknown[-1]

    def asked(question: Question, **changes: Any) -> Asked:
        item = None if question.target is None else view.objects[question.target]
        return Asked(question, frame, number, unseen=item is not None and (item.colour, item.shape) in RESERVED_PAIRS, **changes)

    asker = Asker(view, rng, canonical=False, unknown_word=unknown_word)
    # Rare kinds first, so that no kind is judged by a handful of questions.
    for kind in sorted(counts, key=lambda kind: counts[kind])[:_PER_SCENE]:
        question = _first(lambda kind=kind: asker.ask(kind))  # type: ignore[misc]
        if question is not None:
            counts[kind] += 1
            yield asked(question)
    if number % 2:
        for offset in range(2):
            kind = LOCATE_KINDS[(number // 2 * 2 + offset) % len(LOCATE_KINDS)]
            question = _first(lambda kind=kind: asker.ask(kind), lambda q: asked(q).unseen)  # type: ignore[misc]
            if question is not None:
                yield asked(question, purpose=PAIR)
    unknown.clear()
    question = _first(lambda: asker.ask("absent"), lambda q: bool(unknown) and unknown[-1] in q.text)
    if question is not None:
        yield asked(question, purpose=UNKNOWN)
    if number % 2 == 0:
        kinds = [kind for kind in KINDS if kind != "absent"]
        variants = _variants(view, seed, kinds[number // 2 % len(kinds)])
        for wording, question in zip(WORDINGS, variants, strict=True) if variants else ():
            yield asked(question, purpose=WORDING, wording=wording)


def _first(draw: Callable[[], Question | None], accept: Callable[[Question], bool] = lambda _: True) -> Question | None:
    return next((q for q in (draw() for _ in range(_ATTEMPTS)) if q is not None and accept(q)), None)


def _variants(view: SceneView, seed: int, kind: str) -> list[Question]:
    """One question canonically, in synonyms, and with other synonyms as a sentence that the task grammar takes; nothing if it fails."""

    def variant(attempt: int, wording: int) -> Question | None:
        asker = Asker(
            view, np.random.default_rng([seed, 9, attempt]), canonical=wording == 0, unknown_word=lambda: "banana",
            wording=np.random.default_rng([seed, 10, wording]),
        )  # fmt: skip
        return asker.ask(kind)

    for attempt in range(_ATTEMPTS):
        plain, synonyms = variant(attempt, 0), variant(attempt, 1)
        if plain is None or synonyms is None:
            continue
        sentences = (variant(attempt, wording) for wording in range(2, 2 + _ATTEMPTS))
        sentence = next((q for q in sentences if q is not None and _understood(q.text)), None)
        if sentence is not None:
            return [plain, synonyms, sentence]
    return []


def _understood(sentence: str) -> bool:
    try:
        return len(parse_instruction(sentence)) == 1
    except Refused:
        return False


@dataclass
class Tally:
    """Hits and totals per scene and group; a group is (purpose, kind, steps, unseen, wording)."""

    groups: dict[tuple[str, str, int, bool, str], int] = field(default_factory=dict)
    rows: list[dict[int, list[int]]] = field(default_factory=list)

    def add(self, asked: Sequence[Asked], hits: Sequence[bool]) -> None:
        """Count the answers of one scene."""
        row: dict[int, list[int]] = {}
        for item, hit in zip(asked, hits, strict=True):
            question = item.question
            group = (item.purpose, question.kind, min(question.steps, 3), item.unseen, item.wording)
            cell = row.setdefault(self.groups.setdefault(group, len(self.groups)), [0, 0])
            cell[0] += hit
            cell[1] += 1
        self.rows.append(row)

    def figures(self, seed: int = 0) -> dict[str, Any]:
        """All figures as fractions of 1 with 95 % intervals from a bootstrap over scenes; None where nothing was asked.

        ``macro``: mean over kinds. ``step1`` to ``step3``: questions about objects by the number of things to find, three and more
        together. ``free_space``: free space beside, between and at the end of a chain. ``seen_pairs``: weighted with the kinds of
        the questions of ``unseen_pairs``, so that the two differ in nothing else. ``wording_gap``: best minus worst of the wordings
        of the same questions.
        """
        counts = np.zeros((2, len(self.rows), len(self.groups)))
        for number, row in enumerate(self.rows):
            for group, (hits, total) in row.items():
                counts[:, number, group] = hits, total
        names = list(self.groups)
        values = _figures(names, *counts.sum(axis=1)[:, None])
        weights = np.random.default_rng(seed).multinomial(len(self.rows), np.full(len(self.rows), 1 / len(self.rows)), size=_RESAMPLES)
        spread = _figures(names, weights @ counts[0], weights @ counts[1])
        kinds = {name.removeprefix("kind:"): _rounded(v[0]) for name, v in values.items() if name.startswith("kind:")}
        result: dict[str, Any] = {"n": int(counts[1].sum())}
        result |= {name: _rounded(v[0]) for name, v in values.items() if not name.startswith("kind:")}
        result["kinds"] = dict(sorted(kinds.items()))
        intervals = {name: _interval(v) for name, v in sorted(spread.items())}
        result["ci95"] = {name: v for name, v in intervals.items() if not name.startswith("kind:")}
        result["ci95"]["kinds"] = {name.removeprefix("kind:"): v for name, v in intervals.items() if name.startswith("kind:")}
        return result


Array = NDArray[np.float64]
Group = tuple[str, str, int, bool, str]


def _figures(groups: Sequence[Group], hits: Array, totals: Array) -> dict[str, Array]:
    """Every figure for each row of counts, shapes (R, groups); NaN where nothing was asked."""

    def share(accept: Callable[[Group], bool]) -> Array:
        chosen = [i for i, group in enumerate(groups) if accept(group)]
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(hits[:, chosen].sum(axis=1) / totals[:, chosen].sum(axis=1))

    def asked_in(accept: Callable[[Group], bool]) -> Array:
        return np.asarray(totals[:, [i for i, group in enumerate(groups) if accept(group)]].sum(axis=1))

    kinds = sorted({g[1] for g in groups if g[0] == GENERAL})
    by_kind = {kind: share(lambda g, k=kind: g[0] == GENERAL and g[1] == k) for kind in kinds}  # type: ignore[misc]
    figures: dict[str, Array] = {"macro": np.mean(list(by_kind.values()), axis=0) if by_kind else np.full(len(hits), np.nan)}
    for steps in (1, 2, 3):
        figures[f"step{steps}"] = share(lambda g, s=steps: g[0] == GENERAL and g[1] in LOCATE_KINDS and g[2] == s)  # type: ignore[misc]
    figures["free_space"] = share(lambda g: g[0] == GENERAL and g[1] in FREE_KINDS)
    pairs = [k for k in LOCATE_KINDS if any(g[1] == k and g[3] for g in groups) and any(g[:2] == (GENERAL, k) and not g[3] for g in groups)]
    asked = {k: asked_in(lambda g, k=k: g[0] in (GENERAL, PAIR) and g[1] == k and g[3]) for k in pairs}  # type: ignore[misc]
    seen = {k: share(lambda g, k=k: g[0] == GENERAL and g[1] == k and not g[3]) for k in pairs}  # type: ignore[misc]
    figures["unseen_pairs"] = share(lambda g: g[0] in (GENERAL, PAIR) and g[1] in pairs and g[3])
    with np.errstate(invalid="ignore", divide="ignore"):
        weighted = [np.where(asked[k] > 0, asked[k] * np.nan_to_num(seen[k]), 0.0) for k in pairs]
        known = [np.where(np.isnan(seen[k]), 0.0, asked[k]) for k in pairs]
        figures["seen_pairs"] = np.sum(weighted, axis=0) / np.sum(known, axis=0) if pairs else np.full(len(hits), np.nan)
    figures["unknown_nouns_refused"] = share(lambda g: g[0] == UNKNOWN)
    wordings = np.stack([share(lambda g, w=w: g[0] == WORDING and g[4] == w) for w in WORDINGS])  # type: ignore[misc]
    figures["wording_gap"] = wordings.max(axis=0) - wordings.min(axis=0)
    return figures | {f"kind:{kind}": values for kind, values in by_kind.items()}


def _rounded(value: float) -> float | None:
    return None if np.isnan(value) else round(float(value), 4)


def _interval(values: Array) -> list[float] | None:
    known = values[~np.isnan(values)]
    return [round(float(v), 4) for v in np.percentile(known, [2.5, 97.5])] if known.size else None


def best_constants(scenes: Iterable[Sequence[Asked]], grid: int = 32) -> dict[str, dict[str, Any]]:
    """What a model without pictures could reach: priors of where answers lie, per kind of question.

    Args:
        scenes: Questions about full pictures, see `draw_scenes`.
        grid: The picture is cut into grid x grid points.

    Returns:
        Per kind: n, share of the answers in the left half, mean answer (x, y), and the hit share of the best constant point, chosen
        with the truth in hand; for directions ("left", "right", "front", "behind") the share in the half that the word names.
    """
    sums: dict[str, Array] = {}
    answers: dict[str, list[tuple[float, float]]] = {}
    halves: dict[str, list[bool]] = {}
    for scene in scenes:
        for item in scene:
            question = item.question
            if item.purpose != GENERAL or question.answer_uv is None:
                continue
            height, width = question.mask.shape
            rows = ((np.arange(grid) + 0.5) / grid * height).astype(int)
            columns = ((np.arange(grid) + 0.5) / grid * width).astype(int)
            sums[question.kind] = sums.get(question.kind, np.zeros((grid, grid))) + question.mask[np.ix_(rows, columns)]
            answers.setdefault(question.kind, []).append(question.answer_uv)
            named = _named_half(question)
            if named is not None:
                halves.setdefault(named[0], []).append(named[1])
    result: dict[str, dict[str, Any]] = {}
    for kind, points in sorted(answers.items()):
        xy = np.array(points)
        result[kind] = {
            "n": len(points),
            "left_half": round(float((xy[:, 0] < 0.5).mean()), 4),
            "mean_uv": [round(float(v), 3) for v in xy.mean(axis=0)],
            "best_constant": round(float(sums[kind].max() / len(points)), 4),
        }
    directions = {word: {"n": len(values), "named_half": round(float(np.mean(values)), 4)} for word, values in sorted(halves.items())}
    return {**result, **directions}


def _named_half(question: Question) -> tuple[str, bool] | None:
    """For "left of X" and the like: the direction, and whether the answer lies in the half of the picture that the word names."""
    if question.kind not in ("relative", "free_space") or question.answer_uv is None:
        return None
    x, y = question.answer_uv
    inside = {"left": x < 0.5, "right": x >= 0.5, "front": y >= 0.5, "behind": y < 0.5}
    for direction, phrases in DIRECTIONS.items():
        if any(f" {phrase} " in f" {question.expression} " for phrase in phrases):
            return direction, inside[direction]
    return None
