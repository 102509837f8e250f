"""Answers in the making, one row each: which token comes next, and what the model has to be fed for it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from roboref_node.model.grammar import TokenGrammar
from roboref_node.model.sampling import Drawer, Sampling
from roboref_node.status import Refused, Status


@dataclass
class AnswerRow:
    """One answer.

    Args:
        state: Where it stands in the grammar; None without one.
        drawer: What draws its tokens; None takes the best.
        tokens: What has been said.
        scores: Probability of each token, 1 where the grammar left no choice.
        pending: The last of `tokens`, which the model has not read yet.
        end_score: Probability of the end.
        finished: The answer has ended by itself.
    """

    state: int | None
    drawer: Drawer | None
    tokens: list[int] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    pending: list[int] = field(default_factory=list)
    end_score: float = 1.0
    finished: bool = False


class AnswerRows:
    """The answers of a batch.

    Args:
        sampling: Of each row; None takes the best tokens.
        stops: Tokens that end an answer.
        grammar: Allow only answers of this language.
        max_new_tokens: Longest answer.
    """

    def __init__(self, sampling: Sequence[Sampling | None], stops: set[int], grammar: TokenGrammar | None, max_new_tokens: int) -> None:
        start = grammar.start if grammar else None
        self._rows = [AnswerRow(start, None if how is None else Drawer(how)) for how in sampling]
        self._stops, self._grammar, self._most = stops, grammar, max_new_tokens

    def __len__(self) -> int:
        """Number of answers."""
        return len(self._rows)

    def __iter__(self) -> Iterator[AnswerRow]:
        """The answers in order."""
        return iter(self._rows)

    @property
    def is_done(self) -> bool:
        """True when no answer goes on."""
        return not any(row.pending for row in self._rows)

    def advance(self, logits: Tensor) -> None:
        """Take the next token of every open row, and the tokens that the grammar forces behind it.

        Args:
            logits: After what each row has said, [B, V].

        Raises:
            Refused: MODEL_UNAVAILABLE when they are not finite.
        """
        dtype, logits = logits.dtype, logits.float()
        # In one tensor, because each value that is read waits for the GPU.
        facts = torch.stack([torch.logsumexp(logits, dim=-1).double(), *(x.double() for x in logits.max(dim=-1))]).tolist()
        for row, own, normaliser, highest, best in zip(self._rows, logits, *facts, strict=True):
            row.pending = []
            if row.finished or len(row.tokens) == self._most:
                continue
            if not math.isfinite(normaliser):
                raise Refused(
                    Status.MODEL_UNAVAILABLE,
                    f"The model computes no finite numbers: its weights hold NaN or infinity, or overflow {dtype} "
                    f"(`dtype` float32 or bfloat16 reaches further than float16).",
                )
            self._choose(row, own, normaliser, highest, int(best))
            if len(row.tokens) == self._most:  # nothing is asked of the model behind the last one
                row.pending = []

    def columns(self, device: torch.device) -> tuple[Tensor, Tensor | None]:
        """Pending tokens [B, w], left-padded, and which of them are real; None when all are."""
        rows = self._rows
        width = max(len(row.pending) for row in rows)
        ids = torch.tensor([[0] * (width - len(row.pending)) + row.pending for row in rows], device=device)
        if all(len(row.pending) == width for row in rows):
            return ids, None
        valid = [[False] * (width - len(row.pending)) + [True] * len(row.pending) for row in rows]
        return ids, torch.tensor(valid, device=device)

    def _choose(self, row: AnswerRow, logits: Tensor, normaliser: float, highest: float, best: int) -> None:
        """One token, and those that are forced behind it."""
        grammar = self._grammar
        if grammar is None or row.state is None:
            forced = None
            token = best if row.drawer is None else row.drawer.draw(logits)
        else:
            forced = grammar.forced(row.state)
            token = grammar.choose(row.state, logits, row.drawer) if forced is None else forced
        height = highest if token == best else float(logits[token])
        self._append(row, token, 1.0 if forced is not None else math.exp(min(0.0, height - normaliser)))
        while grammar is not None and not row.finished and len(row.tokens) < self._most:
            assert row.state is not None
            forced = grammar.forced(row.state)
            if forced is None:
                break
            self._append(row, forced, 1.0)

    def _append(self, row: AnswerRow, token: int, score: float) -> None:
        if token in self._stops:
            row.finished, row.end_score, row.pending = True, score, []
            return
        row.tokens.append(token)
        row.scores.append(score)
        row.pending.append(token)
        if self._grammar is not None:
            assert row.state is not None
            row.state = self._grammar.advance(row.state, token)
