"""Text for sgdscope: your own tokenised reviews; a small transformer and an LSTM to classify them.

Token ids arrive as real numbers, as all inputs do (exact up to 2^24), and are turned back by
``long``. Attention and the LSTM's cell are written out, so that they have second derivatives on
every device, which curvature needs, and train many runs at once: cuDNN's LSTM and the fused
attention kernels lack either.
"""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

PADDING, UNKNOWN = 0, 1


def reviews(path="reviews.npz", length=200, vocabulary=20_000):
    """x_train, y_train, x_test, y_test of an .npz beside this file: ids (N, L), labels (N,).

    Each text's first ``length`` tokens; ids from ``vocabulary`` on become ``UNKNOWN``.
    """
    with np.load(Path(__file__).parent / path, allow_pickle=False) as file:
        x_train, x_test = (_cut(file[name], length, vocabulary) for name in ("x_train", "x_test"))
        return x_train, file["y_train"], x_test, file["y_test"]


def _cut(tokens, length, vocabulary):
    tokens = tokens[:, :length]
    # uint8 would be taken for pixels
    return np.where(tokens < vocabulary, tokens, UNKNOWN).astype(np.int32)


def transformer(input_shape, classes, *, vocabulary=20_000, width=64, heads=4, depth=2):
    """Blocks of attention and a dense layer over L tokens; the mean over the text is classified."""
    return Transformer(input_shape[0], classes, vocabulary, width, heads, depth)


def lstm(input_shape, classes, *, vocabulary=20_000, width=64):  # noqa: ARG001
    """One LSTM over the tokens; its last state is classified."""
    return LSTM(classes, vocabulary, width)


class Transformer(nn.Module):
    def __init__(self, length, classes, vocabulary, width, heads, depth):
        super().__init__()
        self.tokens = nn.Embedding(vocabulary, width)
        self.places = nn.Parameter(torch.randn(length, width) * 0.02)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(depth))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        ids = x.long()
        there = (ids != PADDING).unsqueeze(-1).to(self.places.dtype)  # (B, L, 1)
        h = self.tokens(ids) + self.places
        for block in self.blocks:
            h = block(h, there)
        mean = (self.norm(h) * there).sum(1) / there.sum(1).clamp(min=1)
        return self.head(mean)


class Block(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.before, self.middle = nn.LayerNorm(width), nn.LayerNorm(width)
        self.projection, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.dense = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(),
                                   nn.Linear(4 * width, width))

    def forward(self, h: Tensor, there: Tensor) -> Tensor:
        h = h + self.out(self.attended(self.before(h), there))
        return h + self.dense(self.middle(h))

    def attended(self, h: Tensor, there: Tensor) -> Tensor:
        batch, length, width = h.shape
        query, key, value = self.projection(h).reshape(
            batch, length, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        scores = query @ key.transpose(-1, -2) / (width // self.heads) ** 0.5
        hidden = (1 - there).reshape(batch, 1, 1, length) * -1e9
        return ((scores + hidden).softmax(-1) @ value).transpose(1, 2).reshape(h.shape)


class LSTM(nn.Module):
    def __init__(self, classes, vocabulary, width):
        super().__init__()
        self.tokens = nn.Embedding(vocabulary, width)
        self.inward, self.within = nn.Linear(width, 4 * width), nn.Linear(width, 4 * width)
        self.head = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        ids = x.long()
        there = (ids != PADDING).unsqueeze(-1).to(self.head.weight.dtype)
        inputs = self.inward(self.tokens(ids))
        state = cell = torch.zeros_like(inputs[:, 0, : inputs.shape[-1] // 4])
        for step in range(ids.shape[1]):
            let_in, keep, new, let_out = (inputs[:, step] + self.within(state)).chunk(4, -1)
            moved = keep.sigmoid() * cell + let_in.sigmoid() * new.tanh()
            cell = torch.lerp(cell, moved, there[:, step])  # padding leaves it as it is
            state = torch.lerp(state, let_out.sigmoid() * moved.tanh(), there[:, step])
        return self.head(state)
