#!/usr/bin/env python3
"""Writes resnet20-init.safetensors, resnet20-grads.safetensors and resnet20.json: one ResNet-20
seen through PyTorch, for Tenon's tests to reproduce.

    /usr/bin/python3 tests/parity/resnet20.py       (PyTorch 1.13 or later, numpy; a minute or two)

Weights, one batch's gradients and running statistics, and the losses of 20 steps of five
optimizers.  References are float64.  Beside them stands how far float32 rounding alone goes: the
largest gap of five float32 runs that differ only in the order of the images within each batch, on
which no loss depends.
"""
import json
import math
import os
import struct

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F

HERE = os.path.dirname(os.path.abspath(__file__))
BATCHES, BATCH = 20, 8
SEED = 183      # of 2,800 tried, the one whose first batch keeps farthest (7e-6) from a ReLU's kink
MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)


# --- safetensors: u64 header length, JSON header padded with spaces to 8 bytes, data -------------
DTYPES = {"F32": np.float32, "F64": np.float64, "I64": np.int64, "I32": np.int32, "U8": np.uint8}


def save_safetensors(path, tensors):
    names = {np.dtype(d): n for n, d in DTYPES.items()}
    header, at = {}, 0
    for name, a in tensors.items():
        header[name] = dict(dtype=names[a.dtype], shape=list(a.shape),
                            data_offsets=[at, at + a.nbytes])
        at += a.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text)
        for a in tensors.values():
            f.write(a.tobytes())


def load_safetensors(path):
    data = open(path, "rb").read()
    start = 8 + struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8:start])
    header.pop("__metadata__", None)
    tensors = {}
    for name, h in header.items():
        a, b = h["data_offsets"]
        flat = np.frombuffer(data[start + a:start + b], DTYPES[h["dtype"]])
        tensors[name] = flat.reshape(h["shape"])
    return tensors


# --- the data: a function of indices, so that any program can make it ----------------------------
def splitmix64(x):
    """x: array of uint64, or anything that becomes one; arithmetic wraps."""
    z = np.asarray(x, np.uint64) + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def batch(b):
    """Pixels uint8 [8, 32, 32, 3] and labels int64 [8] of batch b = 0..19."""
    n = b * BATCH + np.arange(BATCH)
    labels = (splitmix64((2 << 32) + n) % np.uint64(10)).astype(np.int64)
    index = (b * BATCH * 3072 + np.arange(BATCH * 3072)).reshape(BATCH, 32, 32, 3)
    noise = (splitmix64((1 << 32) + index) >> np.uint64(57)).astype(np.int64)
    y, c = np.arange(32).reshape(1, 32, 1, 1), np.arange(3).reshape(1, 1, 1, 3)
    pixels = noise + 12 * ((labels.reshape(-1, 1, 1, 1) + 3 * c + y // 8) % 10)
    return pixels.astype(np.uint8), labels


FORMULA = [
    "splitmix64(x), 64-bit wrapping: z = x + 0x9E3779B97F4A7C15; "
    "z = (z ^ z>>30) * 0xBF58476D1CE4E5B9; z = (z ^ z>>27) * 0x94D049BB133111EB; return z ^ z>>31",
    "image n = 8*b + k is image k of batch b, b = 0..19; batches are used in order, one per step",
    "label(n) = splitmix64((2 << 32) + n) mod 10",
    "pixel(n, y, x, c) = (splitmix64((1 << 32) + ((n*32 + y)*32 + x)*3 + c) >> 57) "
    "+ 12 * ((label(n) + 3*c + y div 8) mod 10), at most 235",
    "input = (pixel / 255 - mean[c]) / std[c], channels 0..2 in order",
]


def inputs(pixels, dtype):
    x = torch.tensor(pixels).permute(0, 3, 1, 2).to(dtype) / 255
    mean, std = (torch.tensor(v, dtype=dtype).view(3, 1, 1) for v in (MEAN, STD))
    return ((x - mean) / std).contiguous()


# --- the network ---------------------------------------------------------------------------------
class Block(nn.Module):
    def __init__(self, cin, cout, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(cin, cout, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(cout)
        self.conv2 = nn.Conv2d(cout, cout, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(cout)
        self.downsample = None
        if stride != 1:
            self.downsample = nn.Sequential(nn.Conv2d(cin, cout, 1, stride, bias=False),
                                            nn.BatchNorm2d(cout))

    def forward(self, x):
        out = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(out + (self.downsample(x) if self.downsample else x))


class ResNet20(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = nn.Sequential(Block(16, 16, 1), Block(16, 16, 1), Block(16, 16, 1))
        self.layer2 = nn.Sequential(Block(16, 32, 2), Block(32, 32, 1), Block(32, 32, 1))
        self.layer3 = nn.Sequential(Block(32, 64, 2), Block(64, 64, 1), Block(64, 64, 1))
        self.fc = nn.Linear(64, 10)

    def forward(self, x):
        x = self.layer3(self.layer2(self.layer1(F.relu(self.bn1(self.conv1(x))))))
        return self.fc(F.avg_pool2d(x, 8).flatten(1))


def initial_state():
    """Conv N(0, 2/(k*k*Cout)), FC U(+-1/8): from numpy's RandomState, whose stream is frozen."""
    rng, state = np.random.RandomState(SEED), ResNet20().state_dict()
    for name, p in state.items():
        if p.dim() == 4:
            fan_out = p.shape[2] * p.shape[3] * p.shape[0]
            value = rng.standard_normal(p.shape) * math.sqrt(2 / fan_out)
        elif name.startswith("fc."):
            value = rng.uniform(-0.125, 0.125, p.shape)
        else:
            continue                                # BN: PyTorch starts it at 1, 0; 0, 1; 0
        p.copy_(torch.tensor(value.astype(np.float32)))
    return {name: p.numpy() for name, p in state.items()}


def network(state, dtype):
    net = ResNet20()
    net.load_state_dict({name: torch.tensor(a) for name, a in state.items()}, strict=True)
    return net.to(dtype).train()


# --- the references ------------------------------------------------------------------------------
OPTIMIZERS = {
    "sgd": (torch.optim.SGD, dict(lr=0.1, momentum=0.9, weight_decay=1e-4),
            "coupled decay, no dampening, no Nesterov; chaotic at batch 8, see float32_spread"),
    "sgd_small": (torch.optim.SGD, dict(lr=1e-3, momentum=0.9, weight_decay=1e-4),
                  "the same with a rate at which all 20 steps can be compared closely"),
    "adam": (torch.optim.Adam, dict(lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=1e-4),
             "coupled decay, eps inside: sqrt(v)/sqrt(1-b2^t) + eps"),
    "adamw": (torch.optim.AdamW, dict(lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=1e-2),
              "decoupled decay, eps inside: sqrt(v)/sqrt(1-b2^t) + eps"),
    "radam": (torch.optim.RAdam, dict(lr=1e-2, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0),
              "rho > 5, steps below it are SGD with momentum, eps outside: sqrt(v) + eps"),
}


ORDERS = [np.arange(BATCH)] + [np.random.RandomState(s).permutation(BATCH) for s in (1, 2, 3, 4)]


def loss_of(net, b, dtype, order=ORDERS[0]):
    pixels, labels = batch(b)
    logits = net(inputs(pixels[order], dtype))
    return F.cross_entropy(logits, torch.tensor(labels[order])), logits


def flatten(arrays):
    return np.concatenate([a.ravel() for a in arrays]).astype(np.float64)


def train(state, dtype, cls, options, order=ORDERS[0]):
    net = network(state, dtype)
    opt, losses = cls(net.parameters(), **options), []
    for b in range(BATCHES):
        opt.zero_grad()
        loss, _ = loss_of(net, b, dtype, order)
        loss.backward()
        opt.step()
        losses.append(loss.item())
    return losses, flatten(p.detach().numpy() for p in net.parameters())


def gradients(state, dtype):
    """The loss, and: gradients, buffers after the forward, its logits, eval-mode logits after."""
    net = network(state, dtype)
    loss, logits = loss_of(net, 0, dtype)
    loss.backward()
    out = {name: p.grad for name, p in net.named_parameters()}
    out.update(net.named_buffers())
    out["output.train_logits"] = logits.detach()
    with torch.no_grad():
        out["output.eval_logits"] = loss_of(net.eval(), 0, dtype)[1]
    return loss.item(), {name: t.numpy() for name, t in out.items()}


def relative(a, b):
    return float(f"{np.linalg.norm(a.astype(np.float64) - b) / np.linalg.norm(b):.1e}")


def main():
    torch.set_num_threads(1)                        # the same sums in the same order, every time
    state = initial_state()
    count = sum(p.numel() for p in ResNet20().parameters())
    assert count == 272474, count
    save_safetensors(os.path.join(HERE, "resnet20-init.safetensors"), state)

    loss, exact = gradients(state, torch.float64)
    loss32, single = gradients(state, torch.float32)
    pixels, labels = batch(0)
    save_safetensors(os.path.join(HERE, "resnet20-grads.safetensors"),
                     {**{k: a if a.dtype == np.int64 else a.astype(np.float32)
                         for k, a in exact.items()},
                      "input.pixels": pixels, "input.labels": labels})
    weights = [k for k, _ in ResNet20().named_parameters()]
    stats = [k for k in exact if "running" in k]
    result = dict(
        written_by="tests/parity/resnet20.py", torch=torch.__version__, parameters=count,
        batches=BATCHES, batch_size=BATCH, mean=MEAN, std=STD, formula=FORMULA,
        init=f"resnet20-init.safetensors (numpy RandomState({SEED}))",
        first_batch=dict(
            loss=loss, loss_float32=loss32, labels=labels.tolist(),
            gradient_norm=float(np.linalg.norm(flatten(exact[k] for k in weights))),
            float32_rel_diff=dict(              # ||float32 - float64|| / ||float64||, worst tensor
                gradients=max(relative(single[k], exact[k]) for k in weights),
                running_stats=max(relative(single[k], exact[k]) for k in stats),
                **{k: relative(single["output." + k], exact["output." + k])
                   for k in ("train_logits", "eval_logits")})),
        note="losses[k] is the loss of batch k in training mode before update k; "
             "float32_spread[k] is the largest gap to it of five float32 runs that differ in "
             "summation order; "
             "weight_norm is the L2 norm of all parameters (no buffers) after 20 updates, "
             "update_norm that of final minus initial parameters",
        optimizers={})
    start = flatten(state[k] for k in weights)
    result["initial_weight_norm"] = float(np.linalg.norm(start))
    for name, (cls, options, note) in OPTIMIZERS.items():
        losses, w = train(state, torch.float64, cls, options)
        runs = [train(state, torch.float32, cls, options, order) for order in ORDERS]
        spread = np.max([np.abs(np.subtract(r[0], losses)) for r in runs], axis=0)
        norm = float(np.linalg.norm(w))
        norm_spread = max(abs(float(np.linalg.norm(r[1])) - norm) for r in runs)
        result["optimizers"][name] = dict(
            rule=f"torch.optim.{cls.__name__}", options=options, note=note, losses=losses,
            losses_float32=runs[0][0], float32_spread=[float(f"{x:.1e}") for x in spread],
            weight_norm=norm, weight_norm_float32_spread=float(f"{norm_spread:.1e}"),
            update_norm=float(np.linalg.norm(w - start)))
        print(f"{name:9} loss {losses[0]:.6f} -> {losses[-1]:.6f}  |w| {norm:.6f} "
              f"+-{norm_spread:.1e}  float32 spread of the first",
              ", ".join(f"{k}: {spread[:k].max():.1e}" for k in (1, 2, 3, 5, 10, 20)))
    with open(os.path.join(HERE, "resnet20.json"), "w") as f:
        json.dump(result, f, indent=1)
        f.write("\n")
    print("first batch:", result["first_batch"])


if __name__ == "__main__":
    main()
