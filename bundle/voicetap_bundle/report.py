"""What runs and how it is: the answer of `voicetap status`, from heartbeats and supervisord."""

from voicetap.service import restart_backoff

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
    if beat and program and beat.message.pid != program.pid:
        beat = None  # the last word of its predecessor
    message = beat.message if beat else None
    return {
        "service": name.partition("-")[0],
        "name": name,
        "pid": program.pid if program else message.pid,
        "state": _state(beat, program),
        "detail": message.detail if message else program.detail,
        "beat_age_s": round(beat.age_s, 2) if beat else None,
        "rss_bytes": message.rss_bytes if message else 0,
        "cpu_percent": round(beat.cpu_percent, 1) if beat else 0.0,
        "drops": message.drops if message else 0,
        "queue_depth": message.queue_depth if message else 0,
        "restarts": _restarts(name, runtime_dir),
    }


def _state(beat: Beat | None, program: Program | None) -> str:
    """Its own word while that is fresh, otherwise what supervisord makes of it."""
    if beat and beat.age_s <= FRESH_S:
        return beat.message.state
    if program and program.state != "running":
        return program.state
    return "silent" if beat else "starting"


def _restarts(name: str, runtime_dir: str) -> int:
    """Of the ten starts that restart_backoff remembers, those after the first."""
    return max(0, len(restart_backoff.starts_of(runtime_dir, name)) - 1)


def _sources(beats: Beats) -> list[dict]:
    """Each source once: capture's words where it is in trouble, otherwise vad's, which hears it."""
    found: dict[str, dict] = {}
    for name in beats.programs:
        if message := beats.of(name):
            for source in message.sources:
                known = found.setdefault(source.source, {"source": source.source, "detail": ""})
                known |= {"stream": source.stream, "state": source.state, "position_s": source.position_s}
                known |= {"backlog": source.backlog, "gaps": source.gaps, "failed": source.failed}
                known |= {"early_jobs": source.early_jobs, "early_used": source.early_used}
                known |= {"interims": source.interims}
                known["detail"] = source.detail or known["detail"]
    return list(found.values())
