"""A real LLaVA of a few thousand parameters, taught within seconds to say one thing."""

from __future__ import annotations

from pathlib import Path

import torch
from character_tokenizer import character_tokenizer
from transformers import (
    CLIPImageProcessor,
    CLIPVisionConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    Qwen2Config,
)

LESSON = '[{"point_2d": [500, 250], "label": "cup"}]'
TEMPLATE = (
    "{% for message in messages %}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<image>{% else %}{{ part['text'] }}{% endif %}{% endfor %}{% endfor %}<ask>"
)


def build(folder: Path) -> None:
    """A LLaVA whose tokens are characters, trained until it answers every question with the lesson."""
    tokenizer = character_tokenizer(
        ["<image>", "<ask>"], additional_special_tokens=["<image>", "<ask>"], clean_up_tokenization_spaces=False
    )
    vocabulary = tokenizer.get_vocab()
    images = CLIPImageProcessor(size={"shortest_edge": 28}, crop_size={"height": 28, "width": 28})
    processor = LlavaProcessor(
        images, tokenizer, patch_size=14, vision_feature_select_strategy="default", chat_template=TEMPLATE, num_additional_image_tokens=1
    )
    processor.save_pretrained(folder)
    vision = CLIPVisionConfig(
        hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2, image_size=28, patch_size=14
    )
    text = Qwen2Config(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=2
    )
    torch.manual_seed(0)
    model = LlavaForConditionalGeneration(LlavaConfig(vision_config=vision, text_config=text, image_token_id=vocabulary["<image>"]))
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    ids = torch.tensor([[vocabulary["<ask>"], *tokenizer(LESSON)["input_ids"], tokenizer.eos_token_id]])
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for step in range(150):
        prefix = torch.randint(5, len(vocabulary), (1, 1 + 7 * (step % 30)))  # whatever is asked, of whatever length
        batch = torch.cat([prefix, ids], dim=1)
        labels = batch.clone()
        labels[:, : prefix.shape[1] + 1] = -100
        model(input_ids=batch, labels=labels).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.save_pretrained(folder)
