"""The health check: heartbeats, and a position that increases."""

import pytest

from voicetap.messages import Heartbeat, SourceState
from voicetap_watchdog import health


def heartbeat(position_s: float = 0.0, source: str = "live", state: str = "ready", boot_id: str = "a") -> Heartbeat:
    sources = (SourceState(source="mic", stream="1", state=source, position_s=position_s),)
    return Heartbeat(service="capture", name="capture-1", pid=1, boot_id=boot_id, seq=1, state=state, sources=sources)


@pytest.mark.parametrize(
    ("heartbeats", "problem"),
    [
        ([heartbeat(1.0), heartbeat(1.5)], ""),
        ([heartbeat(1.0, "ended"), heartbeat(1.0, "ended")], ""),
        ([heartbeat(1.0), heartbeat(1.0)], "does not increase"),
        ([heartbeat(1.0, "lost"), heartbeat(1.0, "lost")], "mic is lost"),
        ([heartbeat(1.0, state="starting"), heartbeat(1.5, state="starting")], "starting"),
        ([heartbeat(1.0), heartbeat(1.5, boot_id="b")], "heartbeats"),
        ([heartbeat(1.0)], "1 heartbeats"),
        ([], "0 heartbeats"),
    ],
)
def test_healthy_means_heartbeats_of_one_process_and_audio_that_arrives(heartbeats, problem):
    found = health.problem_of("capture-1", heartbeats)
    assert problem in found and bool(found) == bool(problem)
