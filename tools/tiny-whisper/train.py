"""Trains the model on the windows of a directory until a time of day, on a processor that others may use first.

python train.py WINDOWS CHECKPOINT --until HH:MM [--resume]
"""

import argparse
import os
import random
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import count
from pathlib import Path

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, multiprocessing

from model import SOURCE_POSITIONS, Whisper
from speech import SOUNDS
from tokens import Tokens

PEAK_RATE, WARM_UP_STEPS, FALLING = 2e-3, 60, 0.6  # the share of the time in which the rate falls to nothing
BY_EAR_ALONE = 0.15  # the share of the time in which only the encoder learns
BATCH_POSITIONS = 2200  # 44 s for each process
PADDED_ONE_IN = 20  # batches, with as much nothing behind the sound as faster-whisper puts there
WEIGHTS = {"text": 1.0, "word": 0.5, "sound": 0.5, "look": 0.2}  # the rest is only reported
MASKED_BANDS, MASKED_FRAMES = 12, 16
SAVE_STEPS, REPORT_STEPS = 250, 50
IGNORED = -100


@dataclass(frozen=True)
class Batch:
    features: Tensor
    words: Tensor
    sounds: Tensor
    given: Tensor
    wanted: Tensor
    spans: Tensor


def batches(windows: list[dict], epoch: int, part: int, parts: int) -> Iterator[Batch]:
    """Once through everything, windows of like length together; of several equal parts of that, one."""
    order = random.Random(epoch)  # the same in each process
    groups: list[list[dict]] = [[]]
    for window in sorted(windows, key=lambda window: len(window["words"]) * order.uniform(0.9, 1.1)):
        if groups[-1] and (1 + len(groups[-1])) * len(window["words"]) > BATCH_POSITIONS:
            groups.append([])
        groups[-1].append(window)
    order.shuffle(groups)
    for number, group in enumerate(groups[part : len(groups) // parts * parts : parts]):
        longest = max(len(window["words"]) for window in group)
        if number % PADDED_ONE_IN == 0:
            longest = random.randint(longest, SOURCE_POSITIONS)
            group = random.sample(group, max(1, min(len(group), BATCH_POSITIONS // longest)))
        yield batch(group, longest)


def batch(group: list[dict], positions: int) -> Batch:
    steps = max(len(window["given"]) for window in group)
    made = Batch(
        torch.zeros(len(group), 2 * positions, group[0]["features"].shape[1]),
        torch.zeros(len(group), positions, dtype=torch.long),
        torch.zeros(len(group), positions, dtype=torch.long),
        torch.zeros(len(group), steps, dtype=torch.long),
        torch.full((len(group), steps), IGNORED),
        torch.zeros(len(group), steps, 2, dtype=torch.long),
    )
    for row, window in enumerate(group):
        made.features[row, : len(window["features"])] = masked(window["features"])
        for key in ("words", "sounds", "given", "wanted", "spans"):
            getattr(made, key)[row, : len(window[key])] = torch.as_tensor(window[key])
    return made


def masked(features: Tensor) -> Tensor:
    """With a band and a moment missing, every second time."""
    if random.random() < 0.5:
        return features
    features, mean = features.clone(), features.mean(dtype=torch.float32)
    for size, most in enumerate((MASKED_FRAMES, MASKED_BANDS)):
        width = random.randint(0, most)
        start = random.randint(0, max(0, features.shape[size] - width))
        features.narrow(size, start, min(width, features.shape[size] - start)).fill_(mean)
    return features


def losses(model: Whisper, data: Batch, by_ear_alone: bool) -> dict[str, Tensor]:
    with torch.autocast("cpu", torch.bfloat16):
        heard, words, sounds = model.hear(data.features)
    found = {
        "word": F.cross_entropy(words.float().flatten(0, 1), data.words.flatten()),
        "sound": F.cross_entropy(sounds.float().flatten(0, 1), data.sounds.flatten()),
        "placed": (words.argmax(-1) == data.words)[data.words > 0].float().mean().nan_to_num(),  # nobody speaks
    }
    return found if by_ear_alone else found | _said(model, data, heard)


def _said(model: Whisper, data: Batch, heard: Tensor) -> dict[str, Tensor]:
    with torch.autocast("cpu", torch.bfloat16):
        scores, looks = model.say(heard, data.given)
    at = torch.arange(heard.shape[1])
    there = (at >= data.spans[..., :1]) & (at < data.spans[..., 1:])
    told = there.any(-1)
    seen = (looks * there[:, None]).sum(-1).clamp(min=1e-4).log().mean(1)
    scored = data.wanted != IGNORED
    return {
        "text": F.cross_entropy(scores[scored].float(), data.wanted[scored]),
        "look": -seen[told].mean() if told.any() else torch.zeros(()),
        "right": (scores.argmax(-1) == data.wanted)[scored].float().mean(),
    }


def optimizers(model: Whisper) -> list[torch.optim.Optimizer]:
    """Muon for the matrices inside (K. Jordan et al., 2024): half the steps of AdamW, which has the rest."""
    inside = [each for layer in (*model.encoder, *model.decoder) for each in layer.parameters() if each.ndim == 2]
    rest = [each for each in model.parameters() if all(each is not other for other in inside)]
    return [
        torch.optim.Muon(inside, lr=PEAK_RATE, weight_decay=0.01, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(rest, lr=PEAK_RATE, betas=(0.9, 0.98), weight_decay=0.01, fused=True),
    ]


class Clock:
    """The share of the time that is over."""

    def __init__(self, until: str):
        self._start = datetime.now()
        end = datetime.combine(self._start.date(), datetime.strptime(until, "%H:%M").time())
        self._end = end if end > self._start else end + timedelta(days=1)

    def share(self) -> float:
        return (datetime.now() - self._start) / (self._end - self._start)


def train(part: int, options: argparse.Namespace) -> None:
    """One of the processes that train together: each has one thread, for two that wait for one another waste both."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", rank=part, world_size=options.processes)
    tokens, clock = Tokens(), Clock(options.until)
    torch.manual_seed(0)  # the same model in each
    model = Whisper(tokens.size, len(tokens.words), len(SOUNDS))
    learners = optimizers(model)
    step = _resume(options.checkpoint, model, learners) if options.resume else 0
    sums, began_s, share = Counter(), time.monotonic(), 0.0
    random.seed(part)
    for data in _endless(options.windows, part, options.processes):
        falling = max(0.0, min(1.0, (1 - share) / FALLING))
        for learner in learners:
            learner.param_groups[0]["lr"] = PEAK_RATE * min(1.0, (step + 1) / WARM_UP_STEPS) * falling
        found = losses(model, data, by_ear_alone=share < BY_EAR_ALONE and not options.resume)
        share = _learn(model, learners, found, clock.share())
        sums.update({name: value.item() for name, value in found.items()})
        step += 1
        if part == 0 and step % REPORT_STEPS == 0:
            _report(step, sums, began_s, falling)
            sums, began_s = Counter(), time.monotonic()
        if part == 0 and (step % SAVE_STEPS == 0 or falling == 0):
            _save(options.checkpoint, model, learners, step)
        if falling == 0:
            return dist.destroy_process_group()


def _endless(directory: Path, part: int, parts: int) -> Iterator[Batch]:
    """Again and again; files that have been made since are taken in."""
    for epoch in count():
        files = [sorted(directory.glob("*.pt"))]
        dist.broadcast_object_list(files)
        windows = [window for file in files[0] for window in torch.load(file, mmap=True)]
        yield from batches(windows, epoch, part, parts)


def _learn(model: Whisper, learners: list, found: dict[str, Tensor], share: float) -> float:
    """A step with everybody's mean gradient; gives the mean share of the time too, so that all stop together."""
    model.zero_grad()
    sum(weight * found[name] for name, weight in WEIGHTS.items() if name in found).backward()
    gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    flat = torch.cat([torch.tensor([share]), *(gradient.flatten() for gradient in gradients)])
    dist.all_reduce(flat)
    flat /= dist.get_world_size()
    for gradient, mean in zip(gradients, flat[1:].split([each.numel() for each in gradients]), strict=True):
        gradient.copy_(mean.view_as(gradient))
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    for learner in learners:
        learner.step()
    return flat[0].item()


def _save(checkpoint: Path, model: Whisper, learners: list, step: int) -> None:
    state = {"model": model.state_dict(), "learners": [each.state_dict() for each in learners], "step": step}
    torch.save(state, checkpoint.with_suffix(".part"))
    checkpoint.with_suffix(".part").rename(checkpoint)


def _resume(checkpoint: Path, model: Whisper, learners: list) -> int:
    state = torch.load(checkpoint)
    model.load_state_dict(state["model"])
    for learner, known in zip(learners, state["learners"], strict=True):
        learner.load_state_dict(known)
    return state["step"]


def _report(step: int, sums: Counter, began_s: float, falling: float) -> None:
    means = "  ".join(f"{name} {value / REPORT_STEPS:.3f}" for name, value in sums.items())
    pace_s = (time.monotonic() - began_s) / REPORT_STEPS
    print(f"{datetime.now():%H:%M:%S}  step {step}  {means}  {pace_s:.2f} s a step  rate {falling:.2f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("windows", type=Path)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--until", required=True, metavar="HH:MM", help="when the learning rate shall have fallen to 0")
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint")
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29512"}
    multiprocessing.spawn(train, (options,), options.processes)


if __name__ == "__main__":
    main()
