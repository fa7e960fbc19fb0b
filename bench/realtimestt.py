"""RealtimeSTT on the default microphone, as its users run it: bench/peers.py starts it in an environment of its own.

`python bench/realtimestt.py SETTING MODEL` prints its events as JSON, one a line, until its stdin is closed.
`tuned-early` is the fastest setting of RealtimeSTT: 0.6 s of silence in all, a greedy search, and a decode that begins
before the endpoint.
"""

import json
import os
import sys
import threading
import time
from collections.abc import Callable

PARTIALS = {"enable_realtime_transcription": True}
SETTINGS = {
    "default": {},
    "default-partials": PARTIALS,
    "tuned-early": PARTIALS
    | {
        "post_speech_silence_duration": 0.44,  # plus 0.16 until it detects silence
        "silero_deactivity_detection": True,
        "early_transcription_on_silence": 0.05,
        "min_length_of_recording": 0.2,
        "faster_whisper_vad_filter": False,
        "beam_size": 1,
        "beam_size_realtime": 1,
        "batch_size": 0,
        "realtime_batch_size": 0,
        "compute_type": "int8",
        "language": "en",
    },
}


class EventPrinter:
    """Prints events to the original stdout; the library's own output goes to stderr."""

    def __init__(self):
        self._out = os.fdopen(os.dup(1), "w", buffering=1)
        os.dup2(2, 1)
        self._recordings = 0

    def put(self, kind: str, text: str = "") -> None:
        self._recordings += kind == "started"
        now_s = time.monotonic()
        event = {"at_s": now_s, "sound_s": now_s, "kind": kind, "utterance": str(self._recordings), "text": text}
        self._out.write(json.dumps(event) + "\n")

    def callback(self, kind: str) -> Callable[..., None]:
        return lambda text="": self.put(kind, text if isinstance(text, str) else "")


def main() -> None:
    from RealtimeSTT import AudioToTextRecorder  # not above: its child processes import this file

    setting, model = sys.argv[1:]
    events = EventPrinter()
    recorder = AudioToTextRecorder(
        model=model,
        device="cpu",
        spinner=False,
        no_log_file=True,
        realtime_model_type=model,
        on_recording_start=events.callback("started"),
        on_recording_stop=events.callback("stopped"),
        on_realtime_transcription_update=events.callback("interim"),
        **SETTINGS[setting],
    )
    stopping = threading.Event()
    threading.Thread(target=read_texts, args=(recorder, events, stopping), daemon=True).start()
    events.put("ready")
    sys.stdin.read()
    stopping.set()
    recorder.shutdown()


def read_texts(recorder: object, events: EventPrinter, stopping: threading.Event) -> None:
    while not stopping.is_set():
        if text := recorder.text():
            events.put("final", text)


if __name__ == "__main__":
    main()
