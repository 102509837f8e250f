"""The robot's voice: when it is heard, what happens when its program fails, and that it ends."""

from __future__ import annotations

import shutil
import time

import pytest

from roboref_node.speech.conversation import Conversation, Deed, Inquiry
from roboref_node.speech.recogniser import Heard
from roboref_node.speech.settings import SpeechSettings
from roboref_node.speech.sphinx import KeywordSpotter
from roboref_node.speech.synthesis import Synthesiser
from roboref_node.speech.voice import Voice


@pytest.fixture
def speaker(tmp_path, monkeypatch):
    """Puts a program in the place of flite."""

    def install(script):
        program = tmp_path / "flite"
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path), prepend=":")

    return install


def wait_until(condition):
    deadline = time.monotonic() + 30.0
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_it_is_heard_while_it_speaks_and_talks_until_all_is_said(speaker, tmp_path):
    speaker(f'echo "$2" >> {tmp_path}/said; sleep 0.3')
    voice = Voice("flite")
    assert not voice.is_heard and not voice.is_talking
    voice.say("one")
    voice.say("two")
    assert voice.is_talking
    wait_until(lambda: voice.is_heard)
    wait_until(lambda: not voice.is_talking)
    assert voice.is_heard, "its echo"
    wait_until(lambda: not voice.is_heard)
    assert (tmp_path / "said").read_text() == "one\ntwo\n"
    assert voice.close()


def test_a_program_that_does_not_speak_is_told(speaker):
    speaker("echo no sound card >&2; exit 1")
    told = []
    voice = Voice("flite", on_failure=told.append)
    voice.say("one")
    wait_until(lambda: told)
    assert told == ["the voice failed: flite: no sound card"]
    assert voice.close()


def test_it_falls_silent_at_the_end(speaker):
    speaker("exec sleep 30")
    voice = Voice("flite")
    voice.say("one")
    wait_until(lambda: voice.is_heard)
    assert voice.close(10.0)


def test_a_silent_robot_is_never_heard():
    voice = Voice("none")
    voice.say("one")
    assert not voice.is_talking and not voice.is_heard
    assert voice.close()


# Those at whose end "box, yes or no" sounded like "stop" when it was said with this voice, and others.
ORDERS = ("pick up the red cup and put it left of the blue box", "put the green ball left of the blue box", "point at the red box")
INQUIRIES = ("Pick the black bottle behind the blue box?", "Pick the white plate in front of the red box?")


def test_its_questions_do_not_sound_like_stop():
    """The robot stopped itself, and its question with it."""
    pytest.importorskip("pocketsphinx", reason="pip install 'roboref[speech]'")
    if shutil.which("flite") is None:
        pytest.skip("the program flite is not installed: sudo apt-get install -y flite")
    settings, conversation = SpeechSettings(), Conversation()
    said = [r.text for order in ORDERS for r in conversation.hear(Heard(order), onset_ns=0, now_s=0.0) if r.deed is Deed.SAY]
    for number, text in enumerate(INQUIRIES):
        asking = Conversation()
        asking.inquire(Inquiry("pick_place", str(number), text, 30.0), 0.0)
        said += [r.text for r in asking.tick(0.0) if r.deed is Deed.SAY]
    assert len(said) == len(ORDERS) + len(INQUIRIES)
    words = (*settings.stop_words, *settings.cancel_words)
    spotter, voice = KeywordSpotter(dict.fromkeys(words, 10.0**settings.stop_threshold_exponent)), Synthesiser("flite:rms")
    for text in said:
        found = [word for chunk in voice(text).padded(0.5, 0.5).chunks(512) if (word := spotter.feed(chunk))]
        assert not found, text
