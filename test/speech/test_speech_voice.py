"""The robot's voice: when it is heard, what happens when its program fails, and that it ends."""

from __future__ import annotations

import time

import pytest

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
