"""The checkpoint in the Hugging Face LLaVA layout: one f16 file with the tensor names of llava-hf/llava-1.5-7b-hf.

    python export.py --state WORK/state.pt --out models/demo --check
"""

import argparse
import json
import os
from pathlib import Path

import torch
from safetensors.torch import save_file

from model import Geometry
from pixels import MEAN, STD
from tokenizer import BOS, EOS, IMAGE, PAD


def config(g):
    return {
        "architectures": ["LlavaForConditionalGeneration"],
        "model_type": "llava",
        "image_token_index": IMAGE,
        "image_seq_length": (g.side // g.patch) ** 2,
        "projector_hidden_act": "gelu",
        "multimodal_projector_bias": True,
        "vision_feature_layer": -2,
        "vision_feature_select_strategy": "default",
        "tie_word_embeddings": False,
        "torch_dtype": "float16",
        "bos_token_id": BOS, "eos_token_id": EOS, "pad_token_id": PAD,
        "text_config": {
            "model_type": "llama",
            "architectures": ["LlamaForCausalLM"],
            "hidden_size": g.hidden, "intermediate_size": g.mlp, "num_hidden_layers": g.layers,
            "num_attention_heads": g.heads, "num_key_value_heads": g.kv_heads, "head_dim": g.head_dim,
            "hidden_act": "silu", "max_position_embeddings": g.positions, "rms_norm_eps": g.eps,
            "rope_theta": g.rope_theta, "vocab_size": g.vocab, "attention_bias": False, "mlp_bias": False,
            "tie_word_embeddings": False, "torch_dtype": "float16",
            "bos_token_id": BOS, "eos_token_id": EOS, "pad_token_id": PAD,
        },
        "vision_config": {
            "model_type": "clip_vision_model",
            "hidden_size": g.hidden, "intermediate_size": g.tower_mlp, "num_hidden_layers": g.tower_layers,
            "num_attention_heads": g.tower_heads, "image_size": g.side, "patch_size": g.patch,
            "hidden_act": "quick_gelu", "layer_norm_eps": g.eps, "projection_dim": g.hidden,
        },
    }


PREPROCESSOR = {
    "image_processor_type": "CLIPImageProcessor", "processor_class": "LlavaProcessor",
    "do_convert_rgb": True,
    "do_resize": True, "size": {"shortest_edge": 96}, "resample": 3,
    "do_center_crop": True, "crop_size": {"height": 96, "width": 96},
    "do_rescale": True, "rescale_factor": 1 / 255,
    "do_normalize": True, "image_mean": [float(str(v)) for v in MEAN], "image_std": [float(str(v)) for v in STD],
}
PROCESSOR = {
    "processor_class": "LlavaProcessor", "image_token": "<image>", "patch_size": 8,
    "vision_feature_select_strategy": "default", "num_additional_image_tokens": 1,
}


def write(path, text):
    """All or nothing: somebody may be reading."""
    path.with_suffix(".part").write_text(text)
    os.replace(path.with_suffix(".part"), path)


def export(state, out):
    weights = {k: v.half().contiguous() for k, v in state["model"].items()}
    vocab = weights["language_model.lm_head.weight"].shape[0]
    g = Geometry(layers=state["blocks"], vocab=vocab)
    as_json = lambda d: json.dumps(d, indent=2) + "\n"
    write(out / "config.json", as_json(config(g)))
    write(out / "generation_config.json", as_json({"bos_token_id": BOS, "eos_token_id": EOS, "pad_token_id": PAD, "do_sample": False}))
    write(out / "preprocessor_config.json", as_json(PREPROCESSOR))
    write(out / "processor_config.json", as_json(PROCESSOR))
    save_file(weights, out / "model.safetensors.part", metadata={"format": "pt"})
    os.replace(out / "model.safetensors.part", out / "model.safetensors")
    return g


@torch.no_grad()
def check(out, g):
    """transformers loads every tensor under its own name, and computes what the training forward computes."""
    from safetensors.torch import load_file
    from transformers import LlavaForConditionalGeneration

    from model import Llava

    hf, report = LlavaForConditionalGeneration.from_pretrained(out, dtype=torch.float32, output_loading_info=True)
    assert not report["missing_keys"] and not report["unexpected_keys"] and not report["mismatched_keys"], report
    ours = Llava(g)
    ours.load_state_dict({k: v.float() for k, v in load_file(out / "model.safetensors").items()})
    torch.manual_seed(0)
    pixels = torch.randn(2, 3, g.side, g.side)
    text = torch.randint(IMAGE + 1, g.vocab, (1, 40))
    ids = torch.cat([text[:, :4], torch.full((1, 144), IMAGE), text[:, 4:7], torch.full((1, 144), IMAGE), text[:, 7:]], 1)
    visual = ours.multi_modal_projector(ours.tower(pixels)).flatten(0, 1)
    x = ours.language_model.model.embed_tokens(ids).masked_scatter((ids == IMAGE)[..., None], visual)
    h, _ = ours.hidden(x, torch.arange(ids.shape[1])[None], None)
    mine = ours.language_model.lm_head(h)
    theirs = hf(input_ids=ids, pixel_values=pixels).logits
    print("largest difference of logits:", float((mine - theirs).abs().max()), "of", float(theirs.abs().max()))
    assert torch.allclose(mine, theirs, atol=2e-3, rtol=1e-3)


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--state", type=Path, required=True)
    p.add_argument("--out", type=Path, required=True)
    p.add_argument("--check", action="store_true")
    a = p.parse_args()
    g = export(torch.load(a.state, weights_only=False), a.out)
    if a.check:
        check(a.out, g)


if __name__ == "__main__":
    main()
