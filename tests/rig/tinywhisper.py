"""Builds a Whisper of two megabytes that faster-whisper loads and runs, and that always returns the same words.

It has all layers of Whisper, with weights near zero: each token's embedding points at the token that follows, so the
text does not depend on audio, prompt and beam size. Each word takes WORD_S. The computation is that of a real model:
`layers`, `width` and `endless` make a decode as slow, and a model as large, as a test needs.
"""

import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
from ctranslate2.specs import WhisperSpec
from ctranslate2.specs.attention_spec import MultiHeadAttentionSpec
from ctranslate2.specs.common_spec import LayerNormSpec
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

TEXT = "turn on the kitchen light"
MELS, SOURCE_POSITIONS, TARGET_POSITIONS, TIMESTAMPS = 80, 1500, 448, 1501
HEAD_WIDTH = 32  # so a text has at most 31 words
WORD_S = 0.2
_SPECIAL = ("endoftext", "startoftranscript", "en", "translate", "transcribe", "startoflm", "startofprev", "nospeech")
_SHARPNESS = 10.0  # of the predictions

Noise = Callable[..., np.ndarray]


def build(directory: Path, text: str = TEXT, *, layers: int = 1, width: int = 64, endless: bool = False) -> Path:
    """A model directory. The words of `text` must differ; `endless` repeats them up to the maximum length."""
    directory.mkdir(parents=True, exist_ok=True)
    words = [f"Ġ{word}" for word in text.split()]
    tokenizer = _tokenizer(words)
    tokenizer.save(str(directory / "tokenizer.json"))
    (directory / "preprocessor_config.json").write_text(json.dumps({"feature_size": MELS}))
    random = np.random.default_rng(0)
    spec = _spec(layers, width, lambda *shape: random.standard_normal(shape, np.float32) * np.float32(1e-4))
    chain = ["<|notimestamps|>", *words, words[0] if endless else "<|endoftext|>"]
    _set_chain(spec, tokenizer, [tokenizer.token_to_id(token) for token in chain], width)
    spec.config.lang_ids = [tokenizer.token_to_id("<|en|>")]
    spec.config.alignment_heads = [(layers - 1, 0)]
    spec.validate()
    spec.optimize()
    spec.save(str(directory))
    return directory


def _tokenizer(words: list[str]) -> Tokenizer:
    pieces = [*sorted(pre_tokenizers.ByteLevel.alphabet()), *words]
    tokenizer = Tokenizer(models.BPE({piece: number for number, piece in enumerate(pieces)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    names = [*_SPECIAL, "notimestamps", *(f"{0.02 * step:.2f}" for step in range(TIMESTAMPS))]
    tokenizer.add_special_tokens([AddedToken(f"<|{name}|>", special=True) for name in names])
    return tokenizer


def _spec(layers: int, width: int, noise: Noise) -> WhisperSpec:
    spec = WhisperSpec(layers, width // HEAD_WIDTH, layers, width // HEAD_WIDTH)
    spec.encoder.conv1.weight = noise(width, MELS, 3)
    spec.encoder.conv2.weight = noise(width, width, 3)
    spec.encoder.position_encodings.encodings = noise(SOURCE_POSITIONS, width)
    spec.decoder.position_encodings.encodings = noise(TARGET_POSITIONS, width)
    for half in (spec.encoder, spec.decoder):
        _normal(half.layer_norm, width)
        for layer in half.layer:
            _attention(layer.self_attention, (3 * width, width), noise)
            _normal(layer.ffn.layer_norm, width)
            layer.ffn.linear_0.weight = noise(4 * width, width)
            layer.ffn.linear_1.weight = noise(width, 4 * width)
    for layer in spec.decoder.layer:
        _attention(layer.attention, (width, 2 * width, width), noise)
    return spec


def _normal(layer_norm: LayerNormSpec, width: int) -> None:
    layer_norm.gamma, layer_norm.beta = np.ones(width, np.float32), np.zeros(width, np.float32)


def _attention(attention: MultiHeadAttentionSpec, outputs: tuple[int, ...], noise: Noise) -> None:
    width = outputs[-1]
    _normal(attention.layer_norm, width)
    for linear, rows in zip(attention.linear, outputs, strict=True):
        linear.weight = noise(rows, width)


def _set_chain(spec: WhisperSpec, tokenizer: Tokenizer, chain: list[int], width: int) -> None:
    """Each token of the chain predicts the next one, and is aligned WORD_S after the one before."""
    vocabulary = tokenizer.get_vocab_size()
    embeddings, projection = (np.zeros((vocabulary, width), np.float32) for _ in range(2))
    for direction, (token, following) in enumerate(pairwise(chain)):
        embeddings[token, direction] = 1.0
        projection[following, direction] = _SHARPNESS
    spec.decoder.embeddings.weight, spec.decoder.projection.weight = embeddings, projection
    times = spec.encoder.position_encodings.encodings
    for position in range(SOURCE_POSITIONS):  # 50 a second
        times[position, min(int(position / 50 / WORD_S), len(chain) - 2)] = 1.0
    cross_attention = spec.decoder.layer[-1].attention
    queries, keys_and_values = cross_attention.linear[:2]
    for weight in (queries.weight, keys_and_values.weight):
        weight[:HEAD_WIDTH] = np.eye(HEAD_WIDTH, width)
    spec.register_vocabulary([tokenizer.id_to_token(number) for number in range(vocabulary)])
