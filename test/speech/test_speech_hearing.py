"""From sound to text: end points where speech ends, commands and answers by a synthetic voice, and stop in any sentence."""

from __future__ import annotations

import queue
import random
import re
import shutil
import threading

import numpy as np
import pytest

from roboref_node.language import Act, read_dialogue
from roboref_node.speech.audio import RATE_HZ, Audio
from roboref_node.speech.conversation import ACKNOWLEDGED, GONE, UNHEARD
from roboref_node.speech.endpointing import WINDOW, EndPointer, EndPointSettings, Phase
from roboref_node.speech.jsgf import command_grammar, spoken_words
from roboref_node.speech.listening import Listener
from roboref_node.speech.recogniser import Heard
from roboref_node.speech.sphinx import KeywordSpotter, SphinxRecogniser
from roboref_node.speech.synthesis import Synthesiser, speak_command
from roboref_node.speech.vocabulary import Vocabulary
from roboref_node.status import Refused, Status
from roboref_node.task import parse_instruction


def hear(recogniser, audio, *, answering=False):
    recogniser.start()
    for chunk in audio.padded(0.25, 0.35).chunks(WINDOW):
        recogniser.feed(chunk)
    return recogniser.finish(answering=answering)


def test_the_end_of_speech_is_where_the_sound_ends(speak, end_pointer):
    spoken = speak("pick up the red cup")
    pieces = []
    for chunk in spoken.padded(0.5, 1.0).with_noise(30.0, np.random.default_rng(0)).chunks(700):  # not a multiple of the window
        pieces += end_pointer.feed(chunk)
    assert [piece.phase for piece in pieces if piece.phase is not Phase.GOES_ON] == [Phase.STARTED, Phase.ENDED]
    started, ended = pieces[0], pieces[-1]
    assert 0.4 < started.at_s < 0.8
    assert abs(ended.at_s - (0.5 + spoken.voiced_end_s())) < 0.15
    noticed_s = pieces[-2].at_s
    assert noticed_s - ended.at_s == pytest.approx(0.32, abs=0.04)
    kept = sum(len(piece.samples) for piece in pieces) / RATE_HZ
    assert kept > spoken.voiced_end_s() - 0.1


def test_a_short_answer_is_over_sooner_than_a_sentence(speak, end_pointer):
    settings = end_pointer.settings
    for text, answering, silence_s in (
        ("yes", True, settings.answer_silence_s),
        ("yes", False, settings.silence_s),
        ("pick up the red cup and put it in the bowl", True, settings.silence_s),
    ):
        pieces = []
        for chunk in speak(text).padded(0.4, 0.8).chunks(WINDOW):
            pieces += end_pointer.feed(chunk, answering=answering)
        assert pieces[-2].at_s - pieces[-1].at_s == pytest.approx(silence_s, abs=0.035), text


def test_silence_and_noise_are_no_speech(end_pointer):
    noise = np.random.default_rng(0).normal(0.0, 0.02, RATE_HZ * 2).astype(np.float32)
    assert end_pointer.feed(np.zeros(RATE_HZ, dtype=np.float32)) + end_pointer.feed(noise) == []


def test_endless_speech_is_cut(speak, end_pointer):
    end_pointer = EndPointer(EndPointSettings(max_speech_s=1.0))
    pieces = end_pointer.feed(speak("pick up the red cup left of the blue box and put it behind the bowl").samples)
    assert sum(piece.phase is Phase.ENDED for piece in pieces) >= 2


@pytest.mark.parametrize(
    "text", ["pick up the green ball", "move the red cup behind the blue box", "hand me the green cone", "go to the table"]
)
def test_commands(text, speak, recogniser):
    heard = hear(recogniser, speak(text))
    assert [(t.kind, t.expression) for t in parse_instruction(heard.text)] == [(t.kind, t.expression) for t in parse_instruction(text)]
    assert not heard.is_answer


@pytest.mark.parametrize("text", ["yes", "no"])
def test_answers_count_only_when_asked(text, speak, recogniser):
    heard = hear(recogniser, speak(text), answering=True)
    assert (heard.text, heard.is_answer) == (text, True)
    assert not hear(recogniser, speak(text)).is_answer


@pytest.mark.parametrize(
    "text", ["do you want some coffee", "yes i have seen him at the station", "i do not know", "guess what", "pick up the cup"]
)
def test_other_speech_is_no_answer(text, speak, recogniser):
    assert not hear(recogniser, speak(text), answering=True).is_answer


def test_stop_is_found_in_any_sentence_and_soon(speak):
    pytest.importorskip("pocketsphinx", reason="pip install 'roboref[speech]'")
    spotter = KeywordSpotter({"stop": 1e-15, "cancel": 1e-15})
    spoken = speak("stop")
    found_s = [
        (number + 1) * WINDOW / RATE_HZ
        for number, chunk in enumerate(spoken.padded(0.5, 1.0).chunks(WINDOW))
        if spotter.feed(chunk) == "stop"
    ]
    assert len(found_s) == 1
    assert found_s[0] - 0.5 - spoken.voiced_end_s() < 0.25
    assert [word for chunk in speak("please stop the robot").padded(0.5, 0.5).chunks(WINDOW) if (word := spotter.feed(chunk))] == ["stop"]
    assert not any(spotter.feed(chunk) for chunk in speak("pick up the green ball").padded(0.5, 0.5).chunks(WINDOW))


def test_a_spotter_that_has_listened_for_long_still_hears(speak):
    pytest.importorskip("pocketsphinx", reason="pip install 'roboref[speech]'")
    spotter = KeywordSpotter({"stop": 1e-15})
    found = [word for chunk in speak("stop").padded(7.7, 0.7).chunks(WINDOW) if (word := spotter.feed(chunk))]  # across the seam at 8 s
    assert found == ["stop"]


OWN_WORDS = (*ACKNOWLEDGED.values(), GONE, UNHEARD, "Nobody answered within 8 seconds, so I do nothing.")


def test_the_robot_does_not_stop_itself_by_saying_that_it_has_stopped_or_does_nothing():
    pytest.importorskip("pocketsphinx", reason="pip install 'roboref[speech]'")
    spotter, heard = KeywordSpotter({"stop": 1e-15, "cancel": 1e-15}), []
    for name in ("flite", "flite:slt", "flite:rms", "espeak-ng"):
        if shutil.which(name.partition(":")[0]) is None:
            pytest.skip(f"the program {name.partition(':')[0]} is not installed: sudo apt-get install -y flite espeak-ng")
        for sentence in OWN_WORDS:
            spoken = Synthesiser(name)(sentence).padded(0.4, 0.8)
            heard += [(name, sentence, word) for chunk in spoken.chunks(WINDOW) if (word := spotter.feed(chunk))]
    assert heard == []


def test_a_stop_right_behind_a_cancel_is_heard(speak):
    pytest.importorskip("pocketsphinx", reason="pip install 'roboref[speech]'")
    spotter = KeywordSpotter({"stop": 1e-15, "cancel": 1e-15})
    spoken = Synthesiser("flite:rms")("cancel stop").padded(0.5, 1.0)
    assert [word for chunk in spoken.chunks(WINDOW) if (word := spotter.feed(chunk))] == ["cancel", "stop"]


class Said:
    """A spotter that finds what it is told."""

    def __init__(self, *words):
        self.words = list(words)

    def feed(self, samples):
        return self.words.pop(0) if self.words else None


@pytest.mark.parametrize(
    ("found", "acts"),
    [
        (("cancel", "stop"), [Act.CANCEL, Act.STOP]),  # within a tenth of a second
        (("stop", "stop"), [Act.STOP]),
        (("enough", "abort"), [Act.STOP]),  # words that the grammar does not know, or knows as something else
        (("no",), [Act.CANCEL]),
    ],
)
def test_a_word_does_what_it_was_chosen_for(found, acts, end_pointer):
    done = []
    words = {"stop": Act.STOP, "enough": Act.STOP, "abort": Act.STOP, "cancel": Act.CANCEL, "no": Act.CANCEL}
    listener = Listener(Blocked(), end_pointer, Said(*found), on_utterance=print, on_interrupt=done.append, interrupting=words)
    listener.start()
    for number in range(len(found)):
        listener.push(np.zeros(WINDOW, dtype=np.float32), number)
    assert listener.close(60.0)
    assert done == acts


class Blocked:
    """A recogniser that is busy until it is let go."""

    name = "blocked"

    def __init__(self):
        self.gate, self.fed = threading.Event(), threading.Event()

    def start(self):
        self.fed.set()
        self.gate.wait(60.0)

    def feed(self, samples):
        pass

    def finish(self, *, answering):
        raise AssertionError("not reached while blocked")


def test_stop_is_heard_while_the_recogniser_is_busy(speak, end_pointer):
    pytest.importorskip("pocketsphinx", reason="pip install 'roboref[speech]'")
    busy, stopped = Blocked(), threading.Event()
    acts = []

    def interrupted(act):
        acts.append(act)
        stopped.set()

    listener = Listener(busy, end_pointer, KeywordSpotter({"stop": 1e-15}), on_utterance=print, on_interrupt=interrupted)
    listener.start()
    try:
        listener.push(speak("pick up the green ball").padded(0.3, 0.1).samples, 1)
        assert busy.fed.wait(60.0)
        listener.push(speak("stop").padded(0.2, 0.6).samples, 2)
        assert stopped.wait(60.0)
        assert acts == [Act.STOP]
    finally:
        busy.gate.set()
        listener.close()


class Busy:
    """A recogniser that takes as long over its first sentence as it is told."""

    name = "busy"

    def __init__(self):
        self.gate, self.busy = threading.Event(), threading.Event()

    def start(self):
        pass

    def feed(self, samples):
        pass

    def finish(self, *, answering):
        self.busy.set()
        self.gate.wait(60.0)
        return Heard("something")


def test_what_the_robot_said_while_the_recogniser_was_busy_is_not_heard_afterwards(speak, end_pointer):
    pytest.importorskip("pocketsphinx", reason="pip install 'roboref[speech]'")
    recogniser, spoken, deaf = Busy(), speak("pick up the green ball"), False
    heard = queue.Queue()
    listener = Listener(
        recogniser, end_pointer, KeywordSpotter({"stop": 1e-15}), on_utterance=heard.put, on_interrupt=print, deaf=lambda: deaf
    )
    listener.start()
    try:
        listener.push(spoken.padded(0.3, 0.6).samples, 1)
        assert recogniser.busy.wait(60.0)
        deaf = True  # it reads a typed sentence back
        listener.push(spoken.padded(0.3, 0.6).samples, 2)
        deaf = False
        recogniser.gate.set()
        before = heard.get(timeout=60.0)
        listener.push(spoken.padded(0.3, 0.6).samples, 3)
        after = heard.get(timeout=60.0)
        assert (before.onset_ns, after.onset_ns) == (1, 3)
        assert before.began_s < after.began_s
    finally:
        recogniser.gate.set()
        listener.close()


def test_the_grammar_says_only_what_the_task_grammar_reads():
    vocabulary = Vocabulary(nouns=("cup",), colours=("red",), phrases=("pick up", "put", "yes"), relations=("behind",))
    grammar = command_grammar(vocabulary)
    assert {"pick", "up", "put", "cup", "red", "behind", "it"} <= set(spoken_words(grammar))
    assert "grab" not in spoken_words(grammar)
    assert "<move>" not in grammar, "no verb of it is listened for"


def say_at_random(grammar, rng):
    """A sentence of a JSGF grammar of this package."""
    rules = dict(re.findall(r"^(?:public )?(<\w+>) = (.*);$", grammar, flags=re.MULTILINE))

    def expand(text):
        tokens, position = re.findall(r"<\w+>|[()\[\]|]|[a-z']+", text), 0

        def alternatives(closing):
            nonlocal position
            choices, words = [], []
            while position < len(tokens):
                token = tokens[position]
                position += 1
                if token == closing:
                    break
                if token == "|":
                    choices.append(words)
                    words = []
                elif token in "([":
                    inner = alternatives(")" if token == "(" else "]")
                    words = [*words, *(inner if token == "(" or rng.random() < 0.5 else [])]
                else:
                    words = [*words, token]
            return rng.choice([*choices, words])

        return [word for token in alternatives("") for word in (expand(rules[token]) if token in rules else [token])]

    return " ".join(expand("<command>"))


def test_every_sentence_of_the_recogniser_is_understood():
    grammar, rng = command_grammar(Vocabulary()), random.Random(1)
    said = {say_at_random(grammar, rng) for _ in range(400)}
    assert len(said) > 150
    assert any(" put it " in sentence for sentence in said)
    for sentence in said:
        dialogue = read_dialogue(sentence)
        if dialogue is None or dialogue.rest:
            assert parse_instruction(sentence), sentence


def test_settings_that_cannot_be_heard_are_refused():
    with pytest.raises(ValueError, match="juggle"):
        Vocabulary(phrases=("juggle",))
    with pytest.raises(ValueError, match="amid"):
        Vocabulary(relations=("amid",))
    pytest.importorskip("pocketsphinx", reason="pip install 'roboref[speech]'")
    with pytest.raises(Refused, match="xyzzy") as caught:
        SphinxRecogniser(Vocabulary(nouns=("cup", "xyzzy")))
    assert caught.value.status is Status.BAD_REQUEST


def test_a_missing_program_is_named(monkeypatch):
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(Refused, match="apt-get install -y espeak-ng"):
        Synthesiser("espeak-ng")
    with pytest.raises(Refused, match="apt-get install -y flite"):
        speak_command("flite:slt", "hello")
    with pytest.raises(Refused, match="must be none or begin with"):
        speak_command("festival", "hello")


def test_audio_has_a_level_and_an_end():
    tone = Audio(np.sin(np.arange(RATE_HZ) * 0.2).astype(np.float32) * 0.5).padded(0.5, 0.5)
    assert tone.voiced_end_s() == pytest.approx(1.5, abs=0.01)
    noisy = tone.with_noise(20.0, np.random.default_rng(0))
    noise_power = float(np.mean((noisy.samples - tone.samples) ** 2))
    assert 10 * np.log10(0.125 / noise_power) == pytest.approx(20.0, abs=0.5)
    assert tone.at_rate(8_000).duration_s == pytest.approx(tone.duration_s, abs=1e-3)
