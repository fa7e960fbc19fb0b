"""Whisper in torch, very small, with helps to learn: it says which sound and word is where, and shows where it looks.

Its encoder begins with heads that look a little to the left or right. A new Whisper looks everywhere at once, and takes
most of its training to find out that what is near belongs together.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

WIDTH, HEADS, ENCODER_LAYERS, DECODER_LAYERS = 128, 4, 4, 2
MELS, SOURCE_POSITIONS, TARGET_POSITIONS = 80, 1500, 448
SOUNDS_LAYER = 2  # after which the encoder is asked for sounds; after the last, for words
LOOKING = ((-3, -1, 1, 3), (-6, -2, 2, 6), (-10, -4, 4, 10), (-8, 0, 0, 8))  # each encoder head, in positions
LOOKING_GAIN, ELSEWHERE_GAIN = 1.6, 0.3
CONV_GAINS = 3.5, 3.8  # over torch's own beginning: sound is to be louder than positions
GUIDED_HEADS = 2  # of the last decoder layer: told where to look while they learn, and so they know word times


def _rates() -> Tensor:
    """How fast each sinusoid turns, in radians a position."""
    return torch.exp(-math.log(10_000) / (WIDTH // 2 - 1) * torch.arange(WIDTH // 2))


def sinusoids(positions: int) -> Tensor:
    """Whisper's: sines in the first half of the width, cosines in the second."""
    angles = torch.arange(positions)[:, None] * _rates()
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

    @torch.no_grad()
    def look(self, offsets: tuple[int, ...]) -> None:
        """Begin with heads that look so many positions away: by the fastest sinusoids, turned by the offset."""
        half, size = WIDTH // 2, WIDTH // HEADS
        pick = torch.eye(half)[: size // 2]
        for head, offset in enumerate(offsets):
            sine, cosine = (pick * turn for turn in ((offset * _rates()).sin(), (offset * _rates()).cos()))
            rows = slice(head * size, (head + 1) * size)
            turned = torch.cat([torch.cat([cosine, sine], 1), torch.cat([-sine, cosine], 1)])
            straight = torch.block_diag(pick, pick)
            for weight, wanted in ((self.query.weight, turned), (self.key_value.weight, straight)):
                weight[rows] = ELSEWHERE_GAIN * weight[rows] + LOOKING_GAIN * wanted
        self.query.bias.zero_(), self.key_value.bias.zero_()


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
    def __init__(self, vocabulary: int, words: int, sounds: int):
        super().__init__()
        self.conv1 = nn.Conv1d(MELS, WIDTH, 3, padding=1)
        self.conv2 = nn.Conv1d(WIDTH, WIDTH, 3, stride=2, padding=1)
        for conv, gain in zip((self.conv1, self.conv2), CONV_GAINS, strict=True):
            conv.weight.data *= gain
        self.encoder = nn.ModuleList(Layer(is_decoder=False) for _ in range(ENCODER_LAYERS))
        for layer, offsets in zip(self.encoder, LOOKING, strict=True):
            layer.attention.look(offsets)
        self.encoder_norm = nn.LayerNorm(WIDTH)
        self.embeddings = nn.Embedding(vocabulary, WIDTH)
        nn.init.normal_(self.embeddings.weight, std=WIDTH**-0.5)
        self.decoder = nn.ModuleList(Layer(is_decoder=True) for _ in range(DECODER_LAYERS))
        self.decoder_norm = nn.LayerNorm(WIDTH)
        self.word_here = nn.Linear(WIDTH, 1 + words)  # these three for training alone
        self.sound_norm = nn.LayerNorm(WIDTH)
        self.sound_here = nn.Linear(WIDTH, 1 + sounds)
        self.register_buffer("source_positions", 0.3 * sinusoids(SOURCE_POSITIONS))
        self.register_buffer("target_positions", 0.1 * sinusoids(TARGET_POSITIONS))

    def hear(self, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """From (batch, frames, mels): (batch, frames / 2, width), and scores of the words and sounds there."""
        x = F.gelu(self.conv2(F.gelu(self.conv1(features.transpose(1, 2))))).transpose(1, 2)
        x = x + self.source_positions[: x.shape[1]]
        for number, layer in enumerate(self.encoder, 1):
            x, _ = layer(x)
            if number == SOUNDS_LAYER:
                sounds = self.sound_here(self.sound_norm(x))
        heard = self.encoder_norm(x)
        return heard, self.word_here(heard), sounds

    def say(self, heard: Tensor, given: Tensor) -> tuple[Tensor, Tensor]:
        """Scores of the next token, and where the guided heads look."""
        x = self.embeddings(given) + self.target_positions[: given.shape[1]]
        for layer in self.decoder:
            x, weights = layer(x, heard)
        return F.linear(self.decoder_norm(x), self.embeddings.weight), weights[:, :GUIDED_HEADS]
