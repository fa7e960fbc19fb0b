"""What runs and how it is: the answer of `voicetap status`, from heartbeats and supervisord."""

import json
from pathlib import Path

from .beats import FRESH_S, Beat, Beats
from .supervisord import Program


def status(beats: Beats, programs: dict[str, Program], runtime_dir: str) -> dict:
    """`{"services": [...], "sources": [...]}`, the services in the order sound travels."""
    names = [name for name in beats.programs if name in beats.latest or name in programs]
    return {
        "services": [_service(name, beats.latest.get(name), programs.get(name), runtime_dir) for name in names],
        "sources": _sources(beats),
    }


def runs(report: dict) -> bool:
    """Whether anything does."""
    return any(service["pid"] for service in report["services"])


def _service(name: str, beat: Beat | None, program: Program | None, runtime_dir: str) -> dict:
    message = beat.message if beat else None
    state = message.state if message else program.state
    if beat and beat.age_s > FRESH_S:
        state = program.state if program and program.state != "running" else "silent"
    return {
        "service": name.partition("-")[0],
        "name": name,
        "pid": program.pid if program else message.pid,
        "state": state,
        "detail": message.detail if message else program.detail,
        "beat_age_s": round(beat.age_s, 2) if beat else None,
        "rss_bytes": message.rss_bytes if message else 0,
        "cpu_percent": round(beat.cpu_percent, 1) if beat else 0.0,
        "drops": message.drops if message else 0,
        "queue_depth": message.queue_depth if message else 0,
        "restarts": _restarts(name, runtime_dir),
    }


def _restarts(name: str, runtime_dir: str) -> int:
    """Of the ten starts that crashloop remembers, those after the first."""
    try:
        service, _, number = name.partition("-")
        path = Path(runtime_dir, f"voicetap-{service}{number and '-'}{number}.starts")
        return max(0, len(json.loads(path.read_text())) - 1)
    except (OSError, ValueError, TypeError):
        return 0


def _sources(beats: Beats) -> list[dict]:
    """Each source once: capture's words where it is in trouble, otherwise vad's, which hears it."""
    found: dict[str, dict] = {}
    for name in beats.programs:
        if message := beats.of(name):
            for source in message.sources:
                known = found.setdefault(source.source, {"source": source.source, "detail": ""})
                known |= {"stream": source.stream, "state": source.state, "position_s": source.position_s}
                known |= {"backlog": source.backlog, "gaps": source.gaps, "detail": source.detail or known["detail"]}
    return list(found.values())
