#!/usr/bin/env python3
"""Writes lstm_lm.json: small recurrent language models seen through PyTorch, for Tenon's tests to reproduce.

    /usr/bin/python3 tests/parity/lstm_lm.py       (PyTorch 1.13 or later, numpy; some seconds)

nn.Embedding, nn.LSTM and nn.AdaptiveLogSoftmaxWithLoss or nn.Linear.  Weights and words are functions of
names and indices, so nothing but numbers is stored: of each of three networks the losses of two chunks of
one text, the second from the first one's last state, and of the log-probabilities of the first and of every
gradient of both the norm and a few probes; and the losses of 20 chunks, a step of an optimizer each, the
state going on from one to the next.  References are float64.  Beside them stands how far float32 rounding
alone goes: the largest gap of five float32 runs that differ only in the order of the rows.
"""
import json
import os
import sys

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F

sys.dont_write_bytecode = True                      # leave no __pycache__ in the source tree
from resnet20 import flatten, splitmix64
from transformer import relative, seen_through, short, weight

HERE = os.path.dirname(os.path.abspath(__file__))
WORDS, DIM, HIDDEN, LAYERS, BATCH, CHUNK, STEPS = 40, 12, 16, 2, 4, 5, 20
NETS = {
    "adaptive": dict(dim=DIM, cutoffs=[8, 20]),
    "full": dict(dim=DIM),
    "tied": dict(dim=HIDDEN, tied=True),
}
FORMULA = [
    "weights, probes: as in transformer.json",
    "word of row r at step t of the text, both from 0: splitmix64((9 << 32) + 16 t + r) mod words",
    "chunk b, from 0: x steps 5 b .. 5 b + 4, y steps 5 b + 1 .. 5 b + 5; chunk 0 begins with zeros",
    "loss: mean over the 20 words of y of -log p; gradients are the sums of those of chunks 0 and 1",
]


def chunk(b, order):
    t, r = np.meshgrid(b * CHUNK + np.arange(CHUNK + 1), np.asarray(order), indexing="ij")
    ids = torch.tensor((splitmix64((9 << 32) + 16 * t + r) % np.uint64(WORDS)).astype(np.int64))
    return ids[:-1], ids[1:]


class LanguageModel(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.encoder = nn.Embedding(WORDS, config["dim"])
        self.rnn = nn.LSTM(config["dim"], HIDDEN, LAYERS)
        self.tied = config.get("tied")
        if config.get("cutoffs"):
            self.decoder = nn.AdaptiveLogSoftmaxWithLoss(HIDDEN, WORDS, config["cutoffs"], head_bias=True)
        elif not self.tied:
            self.decoder = nn.Linear(HIDDEN, WORDS, bias=False)

    def log_probs(self, h):
        if not self.tied and isinstance(self.decoder, nn.AdaptiveLogSoftmaxWithLoss):
            return self.decoder.log_prob(h)
        return F.log_softmax(F.linear(h, (self.encoder if self.tied else self.decoder).weight), -1)

    def forward(self, x, y, state):
        """Mean loss, log-probabilities [T B, words], the state to go on with."""
        h, state = self.rnn(self.encoder(x), state)
        log_probs = self.log_probs(h.reshape(-1, HIDDEN))
        return F.nll_loss(log_probs, y.reshape(-1)), log_probs, tuple(s.detach() for s in state)


def network(config, dtype, state=None):
    net = LanguageModel(config)
    state = state or {name: torch.tensor(weight(name, tuple(p.shape))) for name, p in net.named_parameters()}
    net.load_state_dict(state, strict=True)
    return net.to(dtype)


# --- the references ---------------------------------------------------------------------------------
OPTIMIZERS = {
    "sgd": (torch.optim.SGD, dict(lr=0.5, momentum=0.9)),
    "adam": (torch.optim.Adam, dict(lr=1e-2, betas=(0.9, 0.999), eps=1e-8)),
    "radam": (torch.optim.RAdam, dict(lr=1e-2, betas=(0.9, 0.999), eps=1e-8)),
}
ORDERS = [np.arange(BATCH)] + [np.random.RandomState(s).permutation(BATCH) for s in (1, 2, 3, 4)]


def train(dtype, cls, options, order=ORDERS[0]):
    net = network(NETS["adaptive"], dtype)
    opt, losses, state = cls(net.parameters(), **options), [], None
    for b in range(STEPS):
        opt.zero_grad()
        loss, _, state = net(*chunk(b, order), state)
        loss.backward()
        opt.step()
        losses.append(loss.item())
    return losses, float(np.linalg.norm(flatten(p.detach().numpy() for p in net.parameters())))


def two_chunks(config, dtype, order=ORDERS[0]):
    net, losses, state, first = network(config, dtype), [], None, None
    for b in range(2):
        loss, log_probs, state = net(*chunk(b, order), state)
        loss.backward()
        losses.append(loss.item())
        first = log_probs.detach().numpy() if b == 0 else first
    out = {name: p.grad.numpy() for name, p in net.named_parameters()}
    if order is ORDERS[0]:
        out["log_probs"] = first
    return losses, out


def reference(config):
    losses, exact = two_chunks(config, torch.float64)
    runs = [two_chunks(config, torch.float32, order) for order in ORDERS]
    log_probs = relative(runs[0][1]["log_probs"], exact["log_probs"])
    gradients = max(relative(run[1][k], exact[k]) for run in runs for k in exact if k != "log_probs")
    print(f"{losses}; float32 differs by {log_probs:.1e} of log-probabilities, {gradients:.1e} of gradients")
    return dict(config=config, parameters=sum(a.size for k, a in exact.items() if k != "log_probs"), losses=losses,
                float32_rel_diff=dict(log_probs=short(log_probs, 2), gradients=short(gradients, 2)),
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
    result = dict(written_by="tests/parity/lstm_lm.py", torch=torch.__version__, words=WORDS, hidden=HIDDEN,
                  layers=LAYERS, batch=BATCH, chunk=CHUNK, formula=FORMULA,
                  note="tensors: norm and probes; the rest as in resnet20.json, of network `adaptive`",
                  nets={name: reference(config) for name, config in NETS.items()},
                  optimizers={name: training(name, *rule) for name, rule in OPTIMIZERS.items()})
    text = json.dumps(result, indent=1)
    for row in [r for net in result["nets"].values() for r in net["tensors"].values()]:
        text = text.replace(json.dumps(row, indent=1).replace("\n", "\n    "), json.dumps(row))
    with open(os.path.join(HERE, "lstm_lm.json"), "w") as f:
        f.write(text + "\n")
    assert json.load(open(f.name)) == json.loads(json.dumps(result))


if __name__ == "__main__":
    main()
