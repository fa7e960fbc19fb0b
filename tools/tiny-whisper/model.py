"""Whisper in torch, very small, with two helps to learn: it says which word is where, and shows where it looks."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

WIDTH, HEADS, ENCODER_LAYERS, DECODER_LAYERS = 128, 4, 4, 2
MELS, SOURCE_POSITIONS, TARGET_POSITIONS = 80, 1500, 448
GUIDED_HEADS = 2  # of the last decoder layer: told where to look while they learn, and so they know word times


def sinusoids(positions: int) -> Tensor:
    """Whisper's: sines in the first half of the width, cosines in the second."""
    scales = torch.exp(-math.log(10_000) / (WIDTH // 2 - 1) * torch.arange(WIDTH // 2))
    angles = torch.arange(positions)[:, None] * scales
    return torch.cat([angles.sin(), angles.cos()], dim=1)


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(WIDTH)
        self.query = nn.Linear(WIDTH, WIDTH)
        self.key_value = nn.Linear(WIDTH, 2 * WIDTH)
        self.out = nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor, heard: Tensor | None = None, is_causal: bool = False) -> tuple[Tensor, Tensor]:
        """What is added to `x`, and where it comes from."""
        normal = self.norm(x)
        query = _heads(self.query(normal))
        key, value = map(_heads, self.key_value(normal if heard is None else heard).chunk(2, dim=-1))
        scores = query * (WIDTH // HEADS) ** -0.5 @ key.transpose(2, 3)  # by hand: three times as fast as torch's own
        if is_causal:
            scores = scores + torch.full_like(scores[0, 0], -1e4).triu(1)
        with torch.autocast("cpu", enabled=False):
            weights = scores.softmax(dim=-1)
        return self.out((weights @ value).transpose(1, 2).flatten(2)), weights


def _heads(x: Tensor) -> Tensor:
    return x.unflatten(-1, (HEADS, -1)).transpose(1, 2)


class Layer(nn.Module):
    def __init__(self, is_decoder: bool):
        super().__init__()
        self.attention = Attention()
        self.cross = Attention() if is_decoder else None
        self.norm = nn.LayerNorm(WIDTH)
        self.wide = nn.Linear(WIDTH, 4 * WIDTH)
        self.narrow = nn.Linear(4 * WIDTH, WIDTH)

    def forward(self, x: Tensor, heard: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        x = x + self.attention(x, is_causal=heard is not None)[0]
        weights = None
        if self.cross is not None:
            added, weights = self.cross(x, heard)
            x = x + added
        return x + self.narrow(F.gelu(self.wide(self.norm(x)))), weights


class Whisper(nn.Module):
    def __init__(self, vocabulary: int, words: int):
        super().__init__()
        self.conv1 = nn.Conv1d(MELS, WIDTH, 3, padding=1)
        self.conv2 = nn.Conv1d(WIDTH, WIDTH, 3, stride=2, padding=1)
        self.encoder = nn.ModuleList(Layer(is_decoder=False) for _ in range(ENCODER_LAYERS))
        self.encoder_norm = nn.LayerNorm(WIDTH)
        self.embeddings = nn.Embedding(vocabulary, WIDTH)
        nn.init.normal_(self.embeddings.weight, std=WIDTH**-0.5)
        self.decoder = nn.ModuleList(Layer(is_decoder=True) for _ in range(DECODER_LAYERS))
        self.decoder_norm = nn.LayerNorm(WIDTH)
        self.word_here = nn.Linear(WIDTH, 1 + words)  # for training alone
        self.register_buffer("source_positions", 0.5 * sinusoids(SOURCE_POSITIONS))
        self.register_buffer("target_positions", 0.1 * sinusoids(TARGET_POSITIONS))

    def encode(self, features: Tensor) -> Tensor:
        """From (batch, frames, mels) to (batch, frames / 2, width)."""
        x = F.gelu(self.conv2(F.gelu(self.conv1(features.transpose(1, 2))))).transpose(1, 2)
        x = x + self.source_positions[: x.shape[1]]
        for layer in self.encoder:
            x, _ = layer(x)
        return self.encoder_norm(x)

    def forward(self, features: Tensor, given: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Scores of the next token, scores of the word at each position, and where the guided heads look."""
        heard = self.encode(features)
        x = self.embeddings(given) + self.target_positions[: given.shape[1]]
        for layer in self.decoder:
            x, weights = layer(x, heard)
        scores = F.linear(self.decoder_norm(x), self.embeddings.weight)
        return scores, self.word_here(heard), weights[:, :GUIDED_HEADS]
