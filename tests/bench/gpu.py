"""PyTorch's side of tools/gpu-check.sh: the training steps of `tenon bench`, on a GPU; one JSON line.

python3 tests/bench/gpu.py resnet20|resnet18|transformer|lstm [--precision f32|tf32|bf16] [--compile]
                                [--batch N] [--steps N] [--warmup N]

bf16 is autocast, f32 weights.  A step ends when its loss is on the host."""
import argparse
import contextlib
import json
import math
import statistics
import time

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("name", choices=["resnet20", "resnet18", "transformer", "lstm"])
parser.add_argument("--precision", default="f32", choices=["f32", "tf32", "bf16"])
parser.add_argument("--compile", action="store_true")
parser.add_argument("--batch", type=int, default=0)
parser.add_argument("--steps", type=int, default=50)
parser.add_argument("--warmup", type=int, default=10)
parser.add_argument("--device", default="cuda")
args = parser.parse_args()

import torch
from torch import nn
from torch.nn import functional as F

torch.manual_seed(1)
torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = args.precision != "f32"


class Block(nn.Module):
    def __init__(self, c, out, stride, zero_pad):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(c, out, 3, stride, 1, bias=False), nn.BatchNorm2d(out)
        self.conv2, self.bn2 = nn.Conv2d(out, out, 3, 1, 1, bias=False), nn.BatchNorm2d(out)
        self.stride, self.more = stride, out - c
        self.shortcut = None
        if (stride > 1 or self.more) and not zero_pad:
            self.shortcut = nn.Sequential(nn.Conv2d(c, out, 1, stride, bias=False), nn.BatchNorm2d(out))

    def forward(self, x):
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        if self.shortcut is not None:
            x = self.shortcut(x)
        elif self.stride > 1:
            x = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.more // 2, self.more // 2))
        return F.relu(x + y)


def stages(widths, blocks, zero_pad):
    layers, c = [], widths[0]
    for stage, width in enumerate(widths):
        for i in range(blocks):
            layers.append(Block(c, width, 2 if stage and i == 0 else 1, zero_pad))
            c = width
    return layers


def resnet20():
    return nn.Sequential(nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU(),
                         *stages([16, 32, 64], 3, True), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))


def resnet18():
    return nn.Sequential(nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(3, 2, 1),
                         *stages([64, 128, 256, 512], 2, False), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
                         nn.Linear(512, 1000))


class Transformer(nn.Module):
    WORDS, DIM = 10000, 512

    def __init__(self):
        super().__init__()
        self.source, self.target = nn.Embedding(self.WORDS, self.DIM), nn.Embedding(self.WORDS, self.DIM)
        self.layers = nn.Transformer(self.DIM, 4, 6, 6, 1024, 0.1, batch_first=True)
        angle = torch.arange(64)[:, None] * torch.exp(torch.arange(0, self.DIM, 2) * (-math.log(1e4) / self.DIM))
        self.register_buffer("places", torch.cat((angle.sin(), angle.cos()), 1))

    def embed(self, table, ids):
        return F.dropout(table(ids) * math.sqrt(self.DIM) + self.places[: ids.shape[1]], 0.1)

    def forward(self, x, y, x_pad, y_pad, later):
        h = self.layers(self.embed(self.source, x), self.embed(self.target, y), tgt_mask=later,
                        src_key_padding_mask=x_pad, tgt_key_padding_mask=y_pad, memory_key_padding_mask=x_pad)
        return F.linear(h, self.target.weight)


class LanguageModel(nn.Module):
    WORDS, CUTOFFS = 793471, [4000, 40000, 200000]

    def __init__(self):
        super().__init__()
        self.encoder, self.rnn = nn.Embedding(self.WORDS, 300), nn.LSTM(300, 2048, 2, dropout=0.1)
        self.decoder = nn.AdaptiveLogSoftmaxWithLoss(2048, self.WORDS, self.CUTOFFS, div_value=4, head_bias=True)

    def forward(self, x, y):
        h, _ = self.rnn(F.dropout(self.encoder(x), 0.1))
        return self.decoder(F.dropout(h, 0.1).flatten(0, 1), y.flatten()).loss


def images(size, classes, batch):
    x = torch.randn(batch, 3, size, size, device=args.device).to(memory_format=torch.channels_last)
    y = torch.arange(batch, device=args.device) * 7919 % classes
    return x, y


def sentences(batch, length=25, least=20):
    """Ids [batch, length] and where they are padding."""
    ids = torch.randint(1, Transformer.WORDS, (batch, length), device=args.device)
    real = torch.randint(least, length + 1, (batch,), device=args.device)
    real[0] = length
    return ids, torch.arange(length, device=args.device)[None] >= real[:, None]


def prepare():
    """Network, optimizer, loss and the items of a step."""
    if args.name == "transformer":
        batch = args.batch or 160
        net = Transformer().to(args.device)
        (x, x_pad), (y, y_pad) = sentences(batch), sentences(batch)
        later = torch.triu(torch.ones(25, 25, dtype=torch.bool, device=args.device), 1)
        targets = torch.roll(y, -1, 1).masked_fill(y_pad, 0)
        optimizer = torch.optim.Adam(net.parameters(), 1e-4, (0.9, 0.98))

        def loss(model):
            logits = model(x, y, x_pad, y_pad, later)
            return F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=0, label_smoothing=0.1)

        return net, optimizer, loss, batch * 25
    if args.name == "lstm":
        batch = args.batch or 128
        net = LanguageModel().to(args.device)
        weight = 1 / (torch.arange(LanguageModel.WORDS, device=args.device) + 2.7)
        ids = torch.multinomial(weight, 21 * batch, replacement=True).view(21, batch)
        return net, torch.optim.Adam(net.parameters(), 1e-3), lambda model: model(ids[:-1], ids[1:]), 20 * batch
    small = args.name == "resnet20"
    batch = args.batch or (128 if small else 16)
    net = (resnet20() if small else resnet18()).to(args.device, memory_format=torch.channels_last)
    x, y = images(32, 10, batch) if small else images(224, 1000, batch)
    optimizer = torch.optim.SGD(net.parameters(), 0.1, 0.9, weight_decay=1e-4)
    return net, optimizer, lambda model: F.cross_entropy(model(x), y), batch


net, optimizer, loss_of, items = prepare()
model = torch.compile(net) if args.compile else net
half = torch.autocast(args.device, torch.bfloat16) if args.precision == "bf16" else contextlib.nullcontext()


def step():
    optimizer.zero_grad(set_to_none=True)
    with half:
        loss = loss_of(model)
    loss.backward()
    if args.name == "lstm":
        nn.utils.clip_grad_norm_(net.parameters(), 5)
    optimizer.step()
    return loss.item()


for _ in range(args.warmup):
    step()
seconds = []
for _ in range(args.steps):
    begin = time.perf_counter()
    step()
    seconds.append(time.perf_counter() - begin)
median = statistics.median(seconds)
print(json.dumps({"name": args.name, "by": "PyTorch " + torch.__version__ + (", compiled" if args.compile else ""),
                  "precision": args.precision, "ms_median": 1e3 * median, "ms_min": 1e3 * min(seconds),
                  "rate": items / median}))
