"""Turns a checkpoint into a model directory for faster-whisper, in whole bytes.

python convert.py CHECKPOINT DIRECTORY
"""

import argparse
import json
from pathlib import Path

import torch
from ctranslate2.specs import WhisperSpec
from ctranslate2.specs.attention_spec import MultiHeadAttentionSpec
from ctranslate2.specs.common_spec import LayerNormSpec, LinearSpec
from ctranslate2.specs.transformer_spec import TransformerDecoderLayerSpec
from torch import Tensor, nn

import model
from model import Attention, Layer, Whisper
from speech import SOUNDS
from tokens import Tokens


def convert(checkpoint: Path, directory: Path) -> None:
    tokens = Tokens()
    trained = Whisper(tokens.size, len(tokens.words), len(SOUNDS))
    trained.load_state_dict(torch.load(checkpoint)["model"])
    spec = filled(trained)
    spec.config.suppress_ids = []
    spec.config.suppress_ids_begin = [tokens.special("endoftext")]
    spec.config.lang_ids = [tokens.special("en")]
    spec.config.alignment_heads = [(model.DECODER_LAYERS - 1, head) for head in range(model.GUIDED_HEADS)]
    spec.register_vocabulary([tokens.tokenizer.id_to_token(number) for number in range(tokens.size)])
    spec.validate()
    spec.optimize("int8")
    directory.mkdir(parents=True, exist_ok=True)
    spec.save(str(directory))
    tokens.tokenizer.save(str(directory / "tokenizer.json"), pretty=False)
    sound = {"feature_size": model.MELS, "hop_length": 160, "n_fft": 400, "sampling_rate": 16_000}
    (directory / "preprocessor_config.json").write_text(json.dumps(sound) + "\n")
    (directory / "voicetap.json").write_text(json.dumps({"short_windows": True}) + "\n")  # it was trained on short ones


def filled(trained: Whisper) -> WhisperSpec:
    spec = WhisperSpec(model.ENCODER_LAYERS, model.HEADS, model.DECODER_LAYERS, model.HEADS)
    for into, conv in ((spec.encoder.conv1, trained.conv1), (spec.encoder.conv2, trained.conv2)):
        into.weight, into.bias = _array(conv.weight), _array(conv.bias)
    spec.encoder.position_encodings.encodings = _array(trained.source_positions)
    spec.decoder.position_encodings.encodings = _array(trained.target_positions)
    spec.decoder.embeddings.weight = spec.decoder.projection.weight = _array(trained.embeddings.weight)
    _norm(spec.encoder.layer_norm, trained.encoder_norm)
    _norm(spec.decoder.layer_norm, trained.decoder_norm)
    for into, layer in zip(
        [*spec.encoder.layer, *spec.decoder.layer], [*trained.encoder, *trained.decoder], strict=True
    ):
        _layer(into, layer)
    return spec


def _layer(into: TransformerDecoderLayerSpec, layer: Layer) -> None:
    """An encoder's is the same without `attention`, as CTranslate2 calls the one to what was heard."""
    own = layer.attention
    weights, biases = ([getattr(part, name) for part in (own.query, own.key_value)] for name in ("weight", "bias"))
    _attention(into.self_attention, own, [(torch.cat(weights), torch.cat(biases))])
    if layer.cross is not None:
        apart = [(part.weight, part.bias) for part in (layer.cross.query, layer.cross.key_value)]
        _attention(into.attention, layer.cross, apart)
    _norm(into.ffn.layer_norm, layer.norm)
    _linear(into.ffn.linear_0, layer.wide.weight, layer.wide.bias)
    _linear(into.ffn.linear_1, layer.narrow.weight, layer.narrow.bias)


def _attention(into: MultiHeadAttentionSpec, attention: Attention, inputs: list[tuple[Tensor, Tensor]]) -> None:
    _norm(into.layer_norm, attention.norm)
    for linear, (weight, bias) in zip(into.linear, [*inputs, (attention.out.weight, attention.out.bias)], strict=True):
        _linear(linear, weight, bias)


def _linear(into: LinearSpec, weight: Tensor, bias: Tensor) -> None:
    into.weight, into.bias = _array(weight), _array(bias)


def _norm(into: LayerNormSpec, norm: nn.LayerNorm) -> None:
    into.gamma, into.beta = _array(norm.weight), _array(norm.bias)


def _array(tensor: Tensor) -> object:
    return tensor.detach().float().numpy().copy()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("directory", type=Path)
    options = parser.parse_args()
    convert(options.checkpoint, options.directory)


if __name__ == "__main__":
    main()
