"""The report of `voicetap status`: state and cost of every program and source, from heartbeats and supervisord."""

from voicetap.service import restart_backoff
from voicetap_watchdog.supervisord_rpc import SupervisedProcess

from .heartbeat_monitor import FRESH_S, HeartbeatMonitor, ReceivedHeartbeat
from .programs import ProgramControl


def build(heartbeats: HeartbeatMonitor, control: ProgramControl, runtime_dir: str) -> dict:
    """`{"services": [...], "sources": [...]}`, the services in the order sound passes through them."""
    programs = control.processes()
    names = [name for name in heartbeats.programs if name in heartbeats.latest or name in programs]
    return {
        "services": [
            _service(name, heartbeats.latest.get(name), programs.get(name), control, runtime_dir) for name in names
        ],
        "sources": _sources(heartbeats),
    }


def is_anything_running(report: dict) -> bool:
    return any(service["pid"] for service in report["services"])


def _service(
    name: str,
    received: ReceivedHeartbeat | None,
    program: SupervisedProcess | None,
    control: ProgramControl,
    runtime_dir: str,
) -> dict:
    if received and program and received.message.pid != program.pid:
        received = None  # from the previous process of this program
    message = received.message if received else None
    return {
        "service": name.partition("-")[0],
        "name": name,
        "pid": program.pid if program else message.pid,
        "state": _state(received, program),
        "detail": message.detail if message else _why_not_running(program, control),
        "beat_age_s": round(received.age_s, 2) if received else None,
        "rss_bytes": message.rss_bytes if message else 0,
        "cpu_percent": round(received.cpu_percent, 1) if received else 0.0,
        "drops": message.drops if message else 0,
        "queue_depth": message.queue_depth if message else 0,
        "restarts": _restarts(name, runtime_dir),
    }


def _why_not_running(program: SupervisedProcess, control: ProgramControl) -> str:
    """How it ended and its last log line: these need not be looked up in the logs."""
    if program.pid:
        return ""
    return ": ".join(filter(None, (control.last_exit(program.name), control.last_log_line(program.name))))


def _state(received: ReceivedHeartbeat | None, program: SupervisedProcess | None) -> str:
    """The state in a fresh heartbeat, otherwise supervisord's."""
    if received and received.age_s <= FRESH_S:
        return received.message.state
    if program and program.state != "RUNNING":
        return program.state.lower()
    return "silent" if received else "starting"


def _restarts(name: str, runtime_dir: str) -> int:
    return max(0, restart_backoff.count_of(runtime_dir, name) - 1)


def _sources(heartbeats: HeartbeatMonitor) -> list[dict]:
    """One row per source. vad's values override capture's, except for an empty detail."""
    found: dict[str, dict] = {}
    for name in heartbeats.programs:
        if message := heartbeats.fresh(name):
            for source in message.sources:
                row = found.setdefault(source.source, {"source": source.source, "detail": ""})
                row |= {"stream": source.stream, "state": source.state, "position_s": source.position_s}
                row |= {"backlog": source.backlog, "gaps": source.gaps, "failed": source.failed}
                row |= {"early_jobs": source.early_jobs, "early_used": source.early_used}
                row |= {"interims": source.interims, "level_dbfs": source.level_dbfs}
                row |= {"noise_dbfs": source.noise_dbfs, "clipping": source.clipping}
                row["detail"] = source.detail or row["detail"]
    return list(found.values())
