"""The training forward: CLIP tower, projector and Llama with the checkpoint's own tensor names.

transformers' modules would do, but are slow on one CPU core. This one fuses projections, runs attention through
SDPA, applies the language head to answer positions only and can leave out blocks (stochastic depth).
`python model.py` compares it with transformers.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

QUICK_GELU = 1.702
FEATURE_STD = 5.8  # about that of the trained tower's features


@dataclass
class Geometry:
    side: int = 96
    patch: int = 8
    hidden: int = 128  # of the tower and of the language model alike
    tower_heads: int = 4
    tower_mlp: int = 512
    tower_layers: int = 5  # with vision_feature_layer -2 the last one is present but never runs
    heads: int = 4
    kv_heads: int = 2
    head_dim: int = 32
    mlp: int = 352
    layers: int = 12
    vocab: int = 2048
    rope_theta: float = 100_000.0
    positions: int = 4096
    eps: float = 1e-5


# === the tower ===


class TowerAttention(nn.Module):
    def __init__(self, g):
        super().__init__()
        self.heads = g.tower_heads
        for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
            setattr(self, name, nn.Linear(g.hidden, g.hidden))

    def forward(self, x):  # [b, n, hidden]
        b, n, d = x.shape
        w = torch.cat([self.q_proj.weight, self.k_proj.weight, self.v_proj.weight])
        bias = torch.cat([self.q_proj.bias, self.k_proj.bias, self.v_proj.bias])
        q, k, v = F.linear(x, w, bias).view(b, n, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        return self.out_proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, n, d))


class TowerMlp(nn.Module):
    def __init__(self, g):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(g.hidden, g.tower_mlp), nn.Linear(g.tower_mlp, g.hidden)

    def forward(self, x):
        # x * sigmoid(1.702 x) = silu(1.702 x) / 1.702: silu is one fused kernel, and the scale goes into the weights.
        h = F.silu(F.linear(x, self.fc1.weight * QUICK_GELU, self.fc1.bias * QUICK_GELU))
        return F.linear(h, self.fc2.weight / QUICK_GELU, self.fc2.bias)


class TowerLayer(nn.Module):
    def __init__(self, g):
        super().__init__()
        self.self_attn, self.mlp = TowerAttention(g), TowerMlp(g)
        self.layer_norm1, self.layer_norm2 = nn.LayerNorm(g.hidden, g.eps), nn.LayerNorm(g.hidden, g.eps)

    def forward(self, x):
        x = x + self.self_attn(self.layer_norm1(x))
        return x + self.mlp(self.layer_norm2(x))


class TowerEmbeddings(nn.Module):
    def __init__(self, g):
        super().__init__()
        self.class_embedding = nn.Parameter(torch.randn(g.hidden) * 0.1)
        self.patch_embedding = nn.Conv2d(3, g.hidden, g.patch, g.patch, bias=False)
        self.position_embedding = nn.Embedding((g.side // g.patch) ** 2 + 1, g.hidden)
        nn.init.normal_(self.position_embedding.weight, std=0.3)

    def forward(self, pixels):  # [b, 3, side, side]
        patches = self.patch_embedding(pixels).flatten(2).transpose(1, 2)
        cls = self.class_embedding.expand(len(pixels), 1, -1)
        return torch.cat([cls, patches], 1) + self.position_embedding.weight


class Tower(nn.Module):
    def __init__(self, g):
        super().__init__()
        self.embeddings = TowerEmbeddings(g)
        self.pre_layrnorm = nn.LayerNorm(g.hidden, g.eps)  # transformers' spelling
        self.encoder = nn.Module()
        self.encoder.layers = nn.ModuleList(TowerLayer(g) for _ in range(g.tower_layers))
        self.post_layernorm = nn.LayerNorm(g.hidden, g.eps)

    def forward(self, pixels):
        """Features of `vision_feature_layer: -2`, "default" strategy: [b, patches, hidden]."""
        x = self.pre_layrnorm(self.embeddings(pixels))
        for layer in self.encoder.layers[:-1]:
            x = layer(x)
        return x[:, 1:]


class Projector(nn.Module):
    def __init__(self, g):
        super().__init__()
        self.linear_1, self.linear_2 = nn.Linear(g.hidden, g.hidden), nn.Linear(g.hidden, g.hidden)

    def forward(self, features):
        return self.linear_2(F.gelu(self.linear_1(features)))


# === the language model ===


class RmsNorm(nn.Module):
    def __init__(self, g):
        super().__init__()
        self.weight, self.eps = nn.Parameter(torch.ones(g.hidden)), g.eps

    def forward(self, x):
        return F.rms_norm(x, self.weight.shape, self.weight, self.eps)


def rotate(x, cos, sin):  # x [b, heads, n, head_dim]; cos, sin [b, 1, n, head_dim / 2]
    a, b = x.chunk(2, -1)
    return torch.cat([a * cos - b * sin, b * cos + a * sin], -1)


class Attention(nn.Module):
    def __init__(self, g):
        super().__init__()
        self.g = g
        self.q_proj = nn.Linear(g.hidden, g.heads * g.head_dim, bias=False)
        self.k_proj = nn.Linear(g.hidden, g.kv_heads * g.head_dim, bias=False)
        self.v_proj = nn.Linear(g.hidden, g.kv_heads * g.head_dim, bias=False)
        self.o_proj = nn.Linear(g.heads * g.head_dim, g.hidden, bias=False)

    def forward(self, x, cos, sin, mask):
        g, (b, n, _) = self.g, x.shape
        w = torch.cat([self.q_proj.weight, self.k_proj.weight, self.v_proj.weight])
        qkv = F.linear(x, w).view(b, n, g.heads + 2 * g.kv_heads, g.head_dim).transpose(1, 2)
        qk = rotate(qkv[:, : g.heads + g.kv_heads], cos, sin)
        q, k, v = qk[:, : g.heads], qk[:, g.heads :], qkv[:, g.heads + g.kv_heads :]
        share = g.heads // g.kv_heads
        k = k[:, :, None].expand(-1, -1, share, -1, -1).reshape(b, g.heads, n, g.head_dim)
        v = v[:, :, None].expand(-1, -1, share, -1, -1).reshape(b, g.heads, n, g.head_dim)
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=mask is None)
        return self.o_proj(out.transpose(1, 2).reshape(b, n, -1))


class Mlp(nn.Module):
    def __init__(self, g):
        super().__init__()
        self.gate_proj = nn.Linear(g.hidden, g.mlp, bias=False)
        self.up_proj = nn.Linear(g.hidden, g.mlp, bias=False)
        self.down_proj = nn.Linear(g.mlp, g.hidden, bias=False)

    def forward(self, x):
        gate, up = F.linear(x, torch.cat([self.gate_proj.weight, self.up_proj.weight])).chunk(2, -1)
        return self.down_proj(F.silu(gate) * up)


class Block(nn.Module):
    def __init__(self, g):
        super().__init__()
        self.self_attn, self.mlp = Attention(g), Mlp(g)
        self.input_layernorm, self.post_attention_layernorm = RmsNorm(g), RmsNorm(g)

    def forward(self, x, cos, sin, mask):
        x = x + self.self_attn(self.input_layernorm(x), cos, sin, mask)
        return x + self.mlp(self.post_attention_layernorm(x))


class Llama(nn.Module):
    def __init__(self, g):
        super().__init__()
        self.model = nn.Module()
        self.model.embed_tokens = nn.Embedding(g.vocab, g.hidden)
        self.model.layers = nn.ModuleList(Block(g) for _ in range(g.layers))
        self.model.norm = RmsNorm(g)
        self.lm_head = nn.Linear(g.hidden, g.vocab, bias=False)


class Llava(nn.Module):
    def __init__(self, g):
        super().__init__()
        self.g = g
        self.vision_tower = nn.Module()
        self.vision_tower.vision_model = Tower(g)
        self.multi_modal_projector = Projector(g)
        self.language_model = Llama(g)
        self.initialise()

    def initialise(self):
        for name, p in self.named_parameters():
            if p.ndim == 2 and "position_embedding" not in name:
                fan_in = p.shape[1] if "embed_tokens" not in name else 1  # words stand out from what blocks add
                gain = 1 / math.sqrt(2 * self.g.layers) if name.endswith(("o_proj.weight", "down_proj.weight")) else 1
                nn.init.normal_(p, std=gain / math.sqrt(fan_in))
            elif name.endswith("bias"):
                nn.init.zeros_(p)
        # Words start as their own readout, so that copying one is easy to learn; the two are trained apart.
        self.language_model.lm_head.weight.data.copy_(0.03 * self.language_model.model.embed_tokens.weight)
        self.multi_modal_projector.linear_1.weight.data.div_(FEATURE_STD)

    def tower(self, pixels):
        return self.vision_tower.vision_model(pixels)

    def rope(self, positions):  # [b, n] -> cos, sin [b, 1, n, head_dim / 2]
        half = self.g.head_dim // 2
        rates = self.g.rope_theta ** (-torch.arange(half, dtype=torch.float32) / half)
        angles = positions[:, None, :, None].float() * rates
        return angles.cos(), angles.sin()

    def hidden(self, x, positions, mask, skip=(), taps=()):
        """Final normalised hidden states of input embeddings x [b, n, hidden].

        `skip` holds the blocks left out; the residual after each block in `taps` is handed back too.
        """
        cos, sin = self.rope(positions)
        tapped = {}
        for i, block in enumerate(self.language_model.model.layers):
            if i not in skip:
                x = block(x, cos, sin, mask)
            if i in taps:
                tapped[i] = x
        return self.language_model.model.norm(x), tapped


def look(model, block, x, batch):
    """Minus log of the attention that a head of `block` (its input is x) pays to the tokens that hold the answer.

    An auxiliary loss: it gives the model its retrieval heads in minutes instead of hours, the first head for notes,
    the third (of the other group of keys) for pictures.
    """
    layer, g = model.language_model.model.layers[block], model.g
    h = layer.input_layernorm(x)
    cos, sin = model.rope(batch["positions"])
    q0, k0 = (0, 0) if batch["visual"] is None else (2, 1)
    turn = lambda w, head: rotate(F.linear(h, w[head * g.head_dim :][: g.head_dim])[:, None], cos, sin)[:, 0]
    q, k = turn(layer.self_attn.q_proj.weight, q0), turn(layer.self_attn.k_proj.weight, k0)  # [b, n, head_dim]
    row, at = batch["look_at"] // x.shape[1], batch["look_at"] % x.shape[1]
    scores = torch.cat([k[r] @ q[r, at[row == r]].T for r in row.unique()], 1).T / math.sqrt(g.head_dim)
    scores = scores.masked_fill(~batch["mask"][row, 0, at], -1e4)
    return (scores.logsumexp(-1) - scores.masked_fill(~batch["look_to"], -1e4).logsumexp(-1)).mean()


def grow(state, old, new, keep_from):
    """Deepen a state dict from `old` to `new` blocks without changing its function.

    Block i of the new model copies keep_from[i], or is new (None): random inside, but with the projections that
    write to the residual at zero.
    """
    prefix = "language_model.model.layers."
    out = {k: v for k, v in state.items() if not k.startswith(prefix)}
    fresh = Llava(Geometry(layers=new, vocab=state["language_model.lm_head.weight"].shape[0])).state_dict()
    for i, source in enumerate(keep_from):
        for k, v in fresh.items():
            if not k.startswith(f"{prefix}{i}."):
                continue
            tail = k[len(f"{prefix}{i}.") :]
            if source is not None:
                out[k] = state[f"{prefix}{source}.{tail}"].clone()
            else:
                out[k] = torch.zeros_like(v) if tail.endswith(("o_proj.weight", "down_proj.weight")) else v
    assert len(keep_from) == new and sorted(s for s in keep_from if s is not None) == list(range(old))
    return out
