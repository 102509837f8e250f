"""Voices of the machine, and the recognisers, each loaded once."""

from __future__ import annotations

import shutil

import pytest

from roboref_node.speech.endpointing import EndPointer
from roboref_node.speech.sphinx import SphinxRecogniser
from roboref_node.speech.synthesis import Synthesiser


@pytest.fixture(scope="session")
def speak():
    """A function from text to sound by flite's voice slt."""
    if shutil.which("flite") is None:
        pytest.skip("the program flite is not installed: sudo apt-get install -y flite")
    synthesiser, spoken = Synthesiser("flite:slt"), {}

    def say(text):
        if text not in spoken:
            spoken[text] = synthesiser(text)
        return spoken[text]

    return say


@pytest.fixture(scope="session")
def recogniser():
    pytest.importorskip("pocketsphinx", reason="pip install 'roboref[speech]'")
    return SphinxRecogniser()


@pytest.fixture
def end_pointer():
    pytest.importorskip("silero_vad", reason="pip install 'roboref[speech]'")
    return EndPointer()
