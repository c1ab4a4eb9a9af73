"""The tokenizer: byte-level BPE trained on the world's own words, so that each of them is one token.

All 256 bytes are in the alphabet, so any text round-trips; a digit is always alone. It adds no special token by
itself: the chat template writes `<s>`.

    python tokenizer.py --out models/demo
"""

import argparse
import json
import re
from pathlib import Path

import numpy as np
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

import notes
import questions
import world

VOCAB = 2048
SPECIALS = ["<pad>", "<s>", "</s>", "<unk>", "<image>"]
PAD, BOS, EOS, UNK, IMAGE = range(5)
# Pieces: a digit, a run of letters, a run of anything else (each with one leading space), or white space.
PIECES = r" ?\p{N}| ?\p{L}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"

# Written out so that minijinja and jinja2 both render it. Pictures come before the text of their message, as in
# LLaVA-1.5's own template; a message is a string or a list of parts.
CHAT_TEMPLATE = """\
{{- '<s>' -}}
{%- for message in messages -%}
  {%- if message['role'] == 'user' -%}{{- 'USER: ' -}}
  {%- elif message['role'] == 'assistant' -%}{{- 'ASSISTANT: ' -}}
  {%- endif -%}
  {%- if message['content'] is string -%}
    {{- message['content'] -}}
  {%- elif message['content'] -%}
    {%- for part in message['content'] -%}
      {%- if part['type'] == 'image' -%}{{- '<image>\\n' -}}{%- endif -%}
    {%- endfor -%}
    {%- for part in message['content'] -%}
      {%- if part['type'] == 'text' -%}{{- part['text'] -}}{%- endif -%}
    {%- endfor -%}
  {%- endif -%}
  {%- if message['role'] == 'assistant' -%}{{- '</s>' -}}{%- else -%}{{- ' ' -}}{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- 'ASSISTANT:' -}}{%- endif -%}
"""


def corpus():
    """The world's words, each often enough that the merges of every one are learned."""
    rng = np.random.default_rng(5)
    lines = ["USER: x ASSISTANT: y"] * 50 + [notes.HELLO, notes.WELCOME, notes.ABLE, questions.UNKNOWN] * 20
    lines += notes.GREETINGS + notes.THANKS + notes.ABOUT + notes.UNKNOWN_FORMS
    scenes = world.random_scenes(rng, 800)
    for i in range(0, 800, 4):
        for scene in scenes[i : i + 4]:
            lines += [" ".join(q[1:3]) for q in questions.ask_some(rng, questions.SINGLE, scene, 10, {})]
        lines += [" ".join(q[1:3]) for q in questions.ask_some(rng, questions.MULTI, scenes[i : i + 4], 10, {})]
    for fact in notes.facts(rng, 192):
        lines += [notes.note(*fact), notes.ask_note(rng, *fact[:2])]
    lines += [notes.filler(rng) for _ in range(2000)]
    words = set(re.findall(r"[A-Za-z]+", " ".join(lines))) | set(notes._TOPICS)
    words |= {w for p in notes.VALUES + notes.KEYS + notes.NAMES for w in [p]}
    return [" " + w for w in sorted(words) for _ in range(30)] + lines


def train():
    tok = Tokenizer(models.BPE(unk_token=None))
    tok.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(PIECES), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    # One leading space is the separator after "ASSISTANT:", as in Llama's own tokenizer: no part of the answer.
    tok.decoder = decoders.Sequence([decoders.ByteLevel(), decoders.Strip(" ", 1, 0)])
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB, special_tokens=SPECIALS, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False, min_frequency=2,
    )
    tok.train_from_iterator(corpus(), trainer)
    return tok


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--out", type=Path, required=True)
    out = p.parse_args().out
    tok = train()
    tok.save(str(out / "tokenizer.json"))
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 4096, "clean_up_tokenization_spaces": False,
        "add_bos_token": False, "add_eos_token": False, "padding_side": "left",
        "bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>",
        "image_token": "<image>", "processor_class": "LlavaProcessor",
    }
    (out / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n")
    names = {k: config[k] for k in ("bos_token", "eos_token", "pad_token", "unk_token")}
    (out / "special_tokens_map.json").write_text(json.dumps(names, indent=2) + "\n")
    (out / "chat_template.jinja").write_text(CHAT_TEMPLATE)
    world_words = [w for pool in (notes.KEYS, notes.VALUES, notes.NAMES, world.SHAPES, world.COLOURS, world.SIZES) for w in pool]
    split = [w for w in world_words if len(tok.encode(" " + w).ids) != 1]
    print("vocabulary", tok.get_vocab_size(), "words of several tokens:", split)


if __name__ == "__main__":
    main()
