"""Makes a checkpoint that begins with what a converted model knows: its words may differ, its shape may not.

python begin.py DIRECTORY CHECKPOINT
"""

import argparse
import json
import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

import model
from model import WIDTH, Whisper
from tokens import Tokens

KINDS = (np.float32, np.int8, np.int16, np.int32, np.float16)  # as CTranslate2 numbers them


class Variables:
    """What is in a `model.bin`: a header, then each variable as name, shape, kind and bytes."""

    def __init__(self, file: Path):
        self._raw, self._at = file.read_bytes(), 0
        self._take("I"), self._name(), self._take("I")  # versions, and that it is a Whisper
        self._named = {self._name(): self._variable() for _ in range(self._take("I"))}

    def __getitem__(self, name: str) -> Tensor:
        values = self._named[name].astype(np.float32)
        if self._named[name].dtype == np.int8:
            values /= self._named[f"{name}_scale"].reshape(-1, *[1] * (values.ndim - 1))
        return torch.from_numpy(values)

    def _take(self, kind: str) -> int:
        (number,) = struct.unpack_from(f"<{kind}", self._raw, self._at)
        self._at += struct.calcsize(f"<{kind}")
        return number

    def _bytes(self, size: int) -> bytes:
        self._at += size
        return self._raw[self._at - size : self._at]

    def _name(self) -> str:
        return self._bytes(self._take("H")).rstrip(b"\0").decode()

    def _variable(self) -> np.ndarray:
        shape = [self._take("I") for _ in range(self._take("B"))]
        kind = KINDS[self._take("B")]
        return np.frombuffer(self._bytes(self._take("I")), kind).reshape(shape)


def taken(variables: Variables) -> Iterator[tuple[str, Tensor]]:
    """All but the embeddings, under the names they have in training."""
    for name in ("conv1", "conv2"):
        yield f"{name}.weight", variables[f"encoder/{name}/weight"]
        yield f"{name}.bias", variables[f"encoder/{name}/bias"]
    yield "source_positions", variables["encoder/position_encodings/encodings"]
    yield "target_positions", variables["decoder/position_encodings/encodings"]
    for side, layers in (("encoder", model.ENCODER_LAYERS), ("decoder", model.DECODER_LAYERS)):
        yield from _norm(variables, f"{side}_norm", f"{side}/layer_norm")
        for number in range(layers):
            yield from _layer(variables, f"{side}.{number}", f"{side}/layer_{number}")


def _layer(variables: Variables, into: str, of: str) -> Iterator[tuple[str, Tensor]]:
    yield from _norm(variables, f"{into}.attention.norm", f"{of}/self_attention/layer_norm")
    for part in ("weight", "bias"):
        together = variables[f"{of}/self_attention/linear_0/{part}"]
        yield f"{into}.attention.query.{part}", together[:WIDTH]
        yield f"{into}.attention.key_value.{part}", together[WIDTH:]
    names = {"attention.out": "self_attention/linear_1", "wide": "ffn/linear_0", "narrow": "ffn/linear_1"}
    if into.startswith("decoder"):
        yield from _norm(variables, f"{into}.cross.norm", f"{of}/attention/layer_norm")
        names |= {f"cross.{name}": f"attention/linear_{n}" for n, name in enumerate(("query", "key_value", "out"))}
    for name, linear in names.items():
        for part in ("weight", "bias"):
            yield f"{into}.{name}.{part}", variables[f"{of}/{linear}/{part}"]
    yield from _norm(variables, f"{into}.norm", f"{of}/ffn/layer_norm")


def _norm(variables: Variables, into: str, of: str) -> Iterator[tuple[str, Tensor]]:
    yield f"{into}.weight", variables[f"{of}/gamma"]
    yield f"{into}.bias", variables[f"{of}/beta"]


def begin(directory: Path, checkpoint: Path) -> None:
    tokens, variables = Tokens(), Variables(directory / "model.bin")
    begun = Whisper(tokens.size, len(tokens.words))
    begun.load_state_dict(dict(taken(variables)), strict=False)
    known, embeddings = json.loads((directory / "vocabulary.json").read_text()), begun.embeddings.weight.data
    old = {token: number for number, token in enumerate(known)}
    for number in range(tokens.size):
        if (token := tokens.tokenizer.id_to_token(number)) in old:
            embeddings[number] = variables["decoder/embeddings/weight"][old[token]]
    torch.save({"model": begun.state_dict(), "step": 0}, checkpoint)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("directory", type=Path, help="of a model that hears already")
    parser.add_argument("checkpoint", type=Path, help="to be made, for train.py --resume")
    options = parser.parse_args()
    begin(options.directory, options.checkpoint)


if __name__ == "__main__":
    main()
