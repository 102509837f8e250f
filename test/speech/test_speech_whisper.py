"""Whisper's side: a folder with a tiny random model is loaded and asked like a real one."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from roboref_node.speech.whisper import WhisperRecogniser
from roboref_node.status import Refused

SPECIAL = ("<|endoftext|>", "<|startoftranscript|>", "<|en|>", "<|transcribe|>", "<|notimestamps|>")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A Whisper with two layers and a vocabulary of single characters, written as a user's folder would be."""
    import torch
    from transformers import (
        GenerationConfig,
        WhisperConfig,
        WhisperFeatureExtractor,
        WhisperForConditionalGeneration,
        WhisperProcessor,
        WhisperTokenizer,
    )

    path = tmp_path_factory.mktemp("whisper")
    characters = [*"abcdefghijklmnopqrstuvwxyz", "Ġ"]
    vocabulary = {token: number for number, token in enumerate([*characters, *SPECIAL])}
    (path / "vocab.json").write_text(json.dumps(vocabulary))
    (path / "merges.txt").write_text("#version: 0.2\n")
    tokenizer = WhisperTokenizer(str(path / "vocab.json"), str(path / "merges.txt"), unk_token=SPECIAL[0])
    tokenizer.add_special_tokens({"additional_special_tokens": list(SPECIAL[1:])})
    WhisperProcessor(WhisperFeatureExtractor(feature_size=80), tokenizer).save_pretrained(path)
    torch.manual_seed(0)
    start, end = vocabulary[SPECIAL[1]], vocabulary[SPECIAL[0]]
    config = WhisperConfig(
        vocab_size=len(vocabulary), d_model=16, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2, decoder_attention_heads=2,
        encoder_ffn_dim=16, decoder_ffn_dim=16, decoder_start_token_id=start, bos_token_id=end, eos_token_id=end, pad_token_id=end,
        max_target_positions=448,
    )  # fmt: skip
    model = WhisperForConditionalGeneration(config)
    model.generation_config = GenerationConfig(decoder_start_token_id=start, eos_token_id=end, pad_token_id=end, max_length=30)
    model.save_pretrained(path)
    return path


def test_an_utterance_becomes_lower_case_words(folder):
    recogniser = WhisperRecogniser(folder)
    recogniser.start()
    rng = np.random.default_rng(0)
    for _ in range(20):
        recogniser.feed(rng.normal(0.0, 0.1, 512).astype(np.float32))
    heard = recogniser.finish(answering=False)
    assert set(heard.text) <= set("abcdefghijklmnopqrstuvwxyz ")
    assert not heard.is_answer


def test_nothing_said_is_nothing_heard(folder):
    recogniser = WhisperRecogniser(folder)
    recogniser.start()
    assert recogniser.finish(answering=True).text == ""


def test_a_folder_without_one_of_the_weights_is_refused(folder, tmp_path):
    """transformers would fill in random numbers and say so in its log only."""
    from safetensors.torch import load_file, save_file

    shutil.copytree(folder, tmp_path / "whisper")
    file, name = tmp_path / "whisper" / "model.safetensors", "model.decoder.layers.0.fc1.weight"
    save_file({key: value for key, value in load_file(file).items() if key != name}, file)
    with pytest.raises(Refused, match=f"tensor {name} is missing"):
        WhisperRecogniser(tmp_path / "whisper")


def test_an_incomplete_folder_is_refused(folder, tmp_path):
    with pytest.raises(Refused, match="holds no config.json"):
        WhisperRecogniser(tmp_path)
    (tmp_path / "config.json").write_text((folder / "config.json").read_text())
    with pytest.raises(Refused, match="cannot be loaded"):
        WhisperRecogniser(tmp_path)
