#!/usr/bin/env python3
"""Writes transformer.json: small Transformers seen through PyTorch, for Tenon's tests to reproduce.

    /usr/bin/python3 tests/parity/transformer.py       (PyTorch 1.13 or later, numpy; about a minute)

Weights and sentences are functions of names and indices, so nothing but numbers is stored: of each of
four networks the loss, and of its logits and of every gradient the norm and a few probes (sums of all
elements with random signs); and the losses of 20 steps of five optimizers.  PyTorch pads and masks, the
source on the left and the target on the right as fairseq does; Tenon does not pad.  References are
float64.  Beside them stands how far float32 rounding alone goes: the largest gap of five float32 runs
that differ only in the order of the sentences within each batch, on which no loss depends.
"""
import json
import math
import os
import sys

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F

sys.dont_write_bytecode = True                      # leave no __pycache__ in the source tree
from resnet20 import flatten, splitmix64

HERE = os.path.dirname(os.path.abspath(__file__))
DIM, FFN, HEADS, LAYERS = 32, 64, 4, 2
SENTENCES, SETS, STEPS, PROBES = 6, 4, 20, 4
PAD, EOS, FIRST = 1, 2, 4
SMOOTHING = 0.1
NETS = {                                            # words of the source and of the target
    "post": dict(source=40, target=50),
    "pre": dict(source=40, target=50, pre_norm=True, gelu=True, share="decoder"),
    "shared": dict(source=50, target=50, share="all"),
    "lm": dict(source=0, target=50, share="decoder"),
}

FORMULA = [
    "splitmix64(x) as in resnet20.json; fnv(name): 64-bit FNV-1a of its bytes; "
    "unit(x) = (splitmix64(x) >> 11) * 2^-53",
    "element e of parameter `name`: 2 unit(fnv(name) + e) - 1, times sqrt(6 / (rows + columns)) of a "
    "matrix, else times 0.2; plus 1 in weights of norms; rounded to float32",
    "rows of side s (0 source, 1 target) of sentence n: 3 + splitmix64((3 + s << 32) + n) mod 7; the last "
    "is 2, id i of the others is 4 + splitmix64((5 + s << 32) + 16 n + i) mod (words - 4)",
    "batch b, from 0, holds sentences 6 (b mod 4) + 0..5; decoders read 2 and then all but the last id",
    "loss: sum over the target's rows of 0.9 (-log p[y]) + 0.1 / words * sum of all -log p; training "
    "divides it by the rows",
    "probe k of a tensor: sum of its elements in order, e-th negated where bit k of splitmix64(e) is set; "
    "logits are those of the target's rows, sentence after sentence",
]


# --- weights and sentences --------------------------------------------------------------------------
def fnv(name):
    h = 0xCBF29CE484222325
    for byte in name.encode():
        h = (h ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return np.uint64(h)


def weight(name, shape):
    index = np.arange(math.prod(shape), dtype=np.uint64)
    u = 2 * ((splitmix64(fnv(name) + index) >> np.uint64(11)) * 2.0 ** -53) - 1
    u = u * (math.sqrt(6 / (shape[0] + shape[1])) if len(shape) == 2 else 0.2)
    if "norm" in name and name.endswith("weight"):
        u = 1 + u
    return u.astype(np.float32).reshape(shape)


def sentence(side, n, words):
    rows = 3 + int(splitmix64([(3 + side << 32) + n])[0] % np.uint64(7))
    ids = FIRST + splitmix64((5 + side << 32) + 16 * n + np.arange(rows)) % np.uint64(words - FIRST)
    return [int(i) for i in ids[:-1]] + [EOS]


def batch(b, config, order=range(SENTENCES)):
    """Padded ids of the source (None without one), of the decoder's input and of the target."""
    numbers = [SENTENCES * (b % SETS) + k for k in order]
    y = [sentence(1, n, config["target"]) for n in numbers]
    most = max(map(len, y))
    prev = torch.tensor([[EOS] + s[:-1] + [PAD] * (most - len(s)) for s in y])
    y = torch.tensor([s + [PAD] * (most - len(s)) for s in y])
    if not config["source"]:
        return None, prev, y
    x = [sentence(0, n, config["source"]) for n in numbers]
    most = max(map(len, x))
    return torch.tensor([[PAD] * (most - len(s)) + s for s in x]), prev, y


# --- the network ------------------------------------------------------------------------------------
def sines(ids, dtype):
    """First real token at 2; sines, then cosines; pads get zeros."""
    real = ids.ne(PAD)
    half = DIM // 2
    w = torch.exp(torch.arange(half, dtype=torch.float64) * (-math.log(10000) / (half - 1)))
    angle = (torch.cumsum(real, 1) + PAD)[..., None] * w
    return (torch.cat([angle.sin(), angle.cos()], -1) * real[..., None]).to(dtype)


class Stack(nn.Module):
    def __init__(self, layer, config, words):
        super().__init__()
        if words:
            self.embed_tokens = nn.Embedding(words, DIM, PAD)
        self.layers = nn.ModuleList(
            layer(DIM, HEADS, FFN, 0.0, "gelu" if config.get("gelu") else "relu", batch_first=True,
                  norm_first=bool(config.get("pre_norm"))) for _ in range(LAYERS))
        self.norm = nn.LayerNorm(DIM) if config.get("pre_norm") else None

    def forward(self, table, ids, *args, **masks):
        x = math.sqrt(DIM) * table(ids) + sines(ids, table.weight.dtype)
        for layer in self.layers:
            x = layer(x, *args, **masks)
        return self.norm(x) if self.norm else x


class Transformer(nn.Module):
    """A language model is an encoder with a causal mask, called decoder."""
    def __init__(self, config):
        super().__init__()
        self.config = config
        share, source = config.get("share"), config["source"]
        if source:
            self.encoder = Stack(nn.TransformerEncoderLayer, config, 0 if share == "all" else source)
        self.decoder = Stack(nn.TransformerDecoderLayer if source else nn.TransformerEncoderLayer,
                             config, config["target"])
        if not share:
            self.decoder.embed_out = nn.Linear(DIM, config["target"], bias=False)

    def forward(self, x, prev):
        table, rows = self.decoder.embed_tokens, prev.shape[1]
        later = torch.ones(rows, rows, dtype=torch.bool).triu(1)
        pads = prev.eq(PAD)
        if x is None:
            y = self.decoder(table, prev, src_mask=later, src_key_padding_mask=pads)
        else:
            hidden = x.eq(PAD)
            source = self.encoder(table if self.config.get("share") == "all" else self.encoder.embed_tokens,
                                  x, src_key_padding_mask=hidden)
            y = self.decoder(table, prev, source, tgt_mask=later, tgt_key_padding_mask=pads,
                             memory_key_padding_mask=hidden)
        out = table if self.config.get("share") else self.decoder.embed_out
        return F.linear(y, out.weight)


def network(config, dtype, state=None):
    net = Transformer(config)
    state = state or {name: torch.tensor(weight(name, tuple(p.shape))) for name, p in net.named_parameters()}
    net.load_state_dict(state, strict=True)
    return net.to(dtype).train()


def loss_of(net, b, order=range(SENTENCES)):
    """The sum over the target's rows, their number, their logits."""
    x, prev, y = batch(b, net.config, order)
    real = y.ne(PAD)
    logits = net(x, prev)[real]
    log_p = F.log_softmax(logits, -1)
    nll = -log_p.gather(1, y[real][:, None]).sum()
    loss = (1 - SMOOTHING) * nll - SMOOTHING / net.config["target"] * log_p.sum()
    return loss, int(real.sum()), logits, nll


# --- the references ---------------------------------------------------------------------------------
OPTIMIZERS = {
    "sgd": (torch.optim.SGD, dict(lr=0.1, momentum=0.9, weight_decay=1e-4)),
    "adam": (torch.optim.Adam, dict(lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=1e-4)),
    "adamw": (torch.optim.AdamW, dict(lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=1e-2)),
    "radam": (torch.optim.RAdam, dict(lr=1e-2, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0)),
    "radam_small": (torch.optim.RAdam, dict(lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0)),
}
ORDERS = [np.arange(SENTENCES)] + [np.random.RandomState(s).permutation(SENTENCES) for s in (1, 2, 3, 4)]


def train(dtype, cls, options, order=ORDERS[0]):
    net = network(NETS["post"], dtype)
    opt, losses = cls(net.parameters(), **options), []
    for b in range(STEPS):
        opt.zero_grad()
        loss, rows, _, _ = loss_of(net, b, order)
        (loss / rows).backward()
        opt.step()
        losses.append(loss.item() / rows)
    return losses, float(np.linalg.norm(flatten(p.detach().numpy() for p in net.parameters())))


def first_batch(config, dtype, order=ORDERS[0]):
    net = network(config, dtype)
    loss, _, logits, nll = loss_of(net, 0, order)
    loss.backward()
    out = {name: p.grad.numpy() for name, p in net.named_parameters()}
    if order is ORDERS[0]:
        out["logits"] = logits.detach().numpy()
    return loss.item(), nll.item(), out


def short(x, digits=10):
    return float(f"{x:.{digits}g}")


def seen_through(a):
    a = a.ravel().astype(np.float64)
    bits = splitmix64(np.arange(a.size))
    signs = [1 - 2 * ((bits >> np.uint64(k)) & np.uint64(1)).astype(np.float64) for k in range(PROBES)]
    return [short(np.linalg.norm(a))] + [short(s @ a) for s in signs]


def relative(a, b):
    return float(np.linalg.norm(a.astype(np.float64) - b) / np.linalg.norm(b))


def reference(config):
    loss, nll, exact = first_batch(config, torch.float64)
    runs = [first_batch(config, torch.float32, order) for order in ORDERS]
    logits = relative(runs[0][2]["logits"], exact["logits"])
    gradients = max(relative(run[2][k], exact[k]) for run in runs for k in exact if k != "logits")
    print(f"{loss:.6f}, nll {nll:.6f}; float32 differs by {logits:.1e} of logits, {gradients:.1e} of gradients")
    return dict(config=config, parameters=sum(a.size for k, a in exact.items() if k != "logits"),
                loss=loss, nll=nll, float32_rel_diff=dict(logits=short(logits, 2), gradients=short(gradients, 2)),
                tensors={k: seen_through(a) for k, a in exact.items()})


def training(name, cls, options):
    losses, norm = train(torch.float64, cls, options)
    runs = [train(torch.float32, cls, options, order) for order in ORDERS]
    spread = np.max([np.abs(np.subtract(r[0], losses)) for r in runs], axis=0)
    norm_spread = max(abs(r[1] - norm) for r in runs)
    print(f"{name:11} loss {losses[0]:.6f} -> {losses[-1]:.6f}  |w| {norm:.6f} +-{norm_spread:.1e}  "
          f"float32 spread {spread.max():.1e}")
    return dict(rule=f"torch.optim.{cls.__name__}", options=options, losses=losses,
                float32_spread=[short(x, 2) for x in spread],
                weight_norm=norm, weight_norm_float32_spread=short(norm_spread, 2))


def main():
    torch.set_num_threads(1)                        # the same sums in the same order, every time
    result = dict(written_by="tests/parity/transformer.py", torch=torch.__version__, dim=DIM, ffn=FFN,
                  heads=HEADS, layers=LAYERS, smoothing=SMOOTHING, formula=FORMULA,
                  note="tensors: norm and probes; the rest as in resnet20.json, of network `post`",
                  nets={name: reference(config) for name, config in NETS.items()},
                  optimizers={name: training(name, *rule) for name, rule in OPTIMIZERS.items()})
    text = json.dumps(result, indent=1)
    for row in [r for net in result["nets"].values() for r in net["tensors"].values()]:
        text = text.replace(json.dumps(row, indent=1).replace("\n", "\n    "), json.dumps(row))
    with open(os.path.join(HERE, "transformer.json"), "w") as f:
        f.write(text + "\n")
    assert json.load(open(f.name)) == json.loads(json.dumps(result))


if __name__ == "__main__":
    main()
