"""Sentences and how they ended, as the page lists them."""

from __future__ import annotations

import html
from dataclasses import dataclass, replace

_COLOURS = {"done": "#2b8a3e", "ok": "#2b8a3e", "running": "#1971c2", "waiting": "#e8590c"}
_OTHER = "#c92a2a"


@dataclass(frozen=True)
class Entry:
    """One sentence.

    Args:
        number: From 1.
        instruction: What was said.
        status: ``running``, ``waiting`` (for a yes), or how it ended: an outcome of the loop, or the status of a referral.
        sentence: What happens, or what happened.
    """

    number: int
    instruction: str
    status: str = "running"
    sentence: str = ""


class History:
    """The last sentences, newest first.

    Args:
        keep: How many.
    """

    def __init__(self, keep: int = 20) -> None:
        self._keep = keep
        self._entries: list[Entry] = []
        self._count = 0

    @property
    def entries(self) -> tuple[Entry, ...]:
        """Newest first."""
        return tuple(self._entries)

    def note(self, instruction: str, status: str, sentence: str) -> None:
        """A new sentence, or news of the newest one: that is the same sentence, and it has not ended yet."""
        newest = self._entries[0] if self._entries else None
        if newest is not None and newest.instruction == instruction and newest.status in ("running", "waiting"):
            self._entries[0] = replace(newest, status=status, sentence=sentence)
            return
        self._count += 1
        self._entries = [Entry(self._count, instruction, status, sentence), *self._entries][: self._keep]

    def to_html(self) -> str:
        """Everything that a person or a camera said is text, never markup."""
        rows = "".join(
            f'<div class="roboref-entry" data-number="{entry.number}" data-status="{html.escape(entry.status)}" '
            f'style="margin:0 0 0.5em;line-height:1.25">'
            f"<b>{html.escape(entry.instruction)}</b> "
            f'<span style="color:{_COLOURS.get(entry.status.lower(), _OTHER)}">{html.escape(entry.status)}</span><br>'
            f"<small>{html.escape(entry.sentence)}</small></div>"
            for entry in self._entries
        )
        return f'<div id="roboref-history" style="padding:0.5em 0.75em;font-size:0.85em">{rows or "nothing was said yet"}</div>'
