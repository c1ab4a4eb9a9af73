"""Computes what tests/real/run compares a cluster with: transformers in f32 on the same GGUF file, dequantised.

    python reference.py MODEL FILE.gguf     # the packages of ../fixtures/gguf/requirements.txt; writes MODEL.json beside this script

MODEL is `smollm2` or `qwen2.5-coder-0.5b`. Written are the token ids of corpus.txt, and for each conversation the ids of its
prompt and, greedy, 64 tokens: each one's bytes, its log-probability, and those of the five most likely. Conversations in which
two tokens come so close that rounding could decide, or whose answer ends earlier, are passed over.

The pre-tokenizer of SmolLM2 is put right here: its file names it, transformers passes over the name.
"""

import json
import sys
from pathlib import Path

import torch
import transformers
from tokenizers import pre_tokenizers
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig
from transformers.convert_slow_tokenizer import bytes_to_unicode

HERE = Path(__file__).parent
TOKENS = 64
TOP = 5
GAP = 5e-3
CONVERSATIONS = [
    ["Explain in a few sentences why the sky is blue."],
    ["Write a short story about a lighthouse keeper and a storm."],
    ["List ten European countries and their capitals, one a line."],
    ["Write a Python function that returns the n-th Fibonacci number, and explain it."],
    ["What is the difference between a process and a thread? Give an example of each."],
    ["I have 3 apples and buy 12 more.", "You have 15 apples.", "How do I bake an apple pie? Give me the steps."],
    ["Übersetze ins Englische und erkläre jedes Wort: Die Katze schläft auf dem Sofa."],
    ["Write a SQL query that counts orders by customer, and explain every part of it."],
]
WANTED = 4


def spelled(tokenizer, id: int) -> list[int]:
    letters = {letter: byte for byte, letter in bytes_to_unicode().items()}
    token = tokenizer.convert_ids_to_tokens(id)
    known = all(letter in letters for letter in token)
    return [letters[letter] for letter in token] if known else list(token.encode())


def conversation(turns: list[str]) -> list[dict]:
    return [{"role": ["user", "assistant"][at % 2], "content": text} for at, text in enumerate(turns)]


def answer(model, tokenizer, messages: list[dict], ends: set[int]) -> dict | None:
    prompt = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
    ids, cache, steps = torch.tensor([prompt]), None, []
    for _ in range(TOKENS):
        with torch.no_grad():
            out = model(input_ids=ids, past_key_values=cache, use_cache=True)
        cache, logits = out.past_key_values, out.logits[0, -1].float()
        logprobs = torch.log_softmax(logits, -1)
        top = logprobs.topk(TOP)
        token = top.indices[0].item()
        if token in ends or top.values[0] - top.values[1] < GAP:
            return None
        steps.append({
            "id": token, "bytes": spelled(tokenizer, token),
            "top": [round(value, 5) for value in top.values.tolist()],
        })
        ids = torch.tensor([[token]])
    return {"messages": messages, "prompt": prompt, "steps": steps}


def main() -> None:
    name, path = sys.argv[1], Path(sys.argv[2])
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    given = dict(gguf_file=path.name)
    tokenizer = AutoTokenizer.from_pretrained(path.parent, **given)
    if name == "smollm2":
        tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
        )
    model = AutoModelForCausalLM.from_pretrained(
        path.parent, **given, quantization_config=GgufConfig(dequantize=True), dtype=torch.float32,
    ).eval()
    ends = {tokenizer.convert_tokens_to_ids(token) for token in ("<|im_end|>", "<|endoftext|>")}
    corpus = tokenizer((HERE / "corpus.txt").read_text(), add_special_tokens=False)["input_ids"]
    found = []
    for turns in CONVERSATIONS:
        one = answer(model, tokenizer, conversation(turns), ends)
        print(f"{turns[-1]!r}: {'taken' if one else 'passed over'}", flush=True)
        found += [one] if one else []
        if len(found) == WANTED:
            break
    document = {"corpus": corpus, "conversations": found}
    (HERE / f"{name}.json").write_text(json.dumps(document, ensure_ascii=False, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
