"""Deliberate breakages of a private copy of the repository, and the tests that must notice each."""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
COPIED = ("proto", "services", "bundle", "deploy", "tests")
TIMEOUT_S = 120


@dataclass(frozen=True)
class Mutation:
    """In `file`, `old` (which is there once) becomes `new`; `test` has to fail then."""

    name: str
    file: str
    old: str
    new: str
    test: str


_CAPTURE, _VAD = "services/capture/voicetap_capture", "services/vad/voicetap_vad"
_JOURNAL, _TRANSCRIBE = "services/journal/voicetap_journal", "services/transcribe/voicetap_transcribe"
_WATCHDOG, _PROTO = "services/watchdog/voicetap_watchdog", "proto/voicetap"

MUTATIONS = (
    Mutation(
        "no dedup in journal",
        f"{_JOURNAL}/sequencer.py",
        "return bool(stream and stream.contains(utterance_id.number))",
        "return False",
        "test_journal_sequencer.py::test_every_entry_is_released_once_and_in_order_whatever_order_they_come_in",
    ),
    Mutation(
        "committed words are taken back",
        f"{_JOURNAL}/live_filter.py",
        " or not interim.committed_text.startswith(committed_text)",
        "",
        "test_journal_live_filter.py::test_committed_text_is_never_taken_back",
    ),
    Mutation(
        "no re-dispatch in the outbox",
        f"{_VAD}/dispatcher.py",
        "if item.worker and now_s - item.renewed_s > self.lease_s:",
        "if False:",
        "test_vad_dispatcher.py::test_a_silent_worker_loses_its_job_to_another",
    ),
    Mutation(
        "the segment store is ignored on a restart",
        f"{_VAD}/stream.py",
        "restored = [segment for segment in store.segments() if segment.stream == self.name]",
        "restored = []",
        "test_vad_stream.py::test_kills_change_nothing",
    ),
    Mutation(
        "published before it is in the ring",
        f"{_CAPTURE}/service.py",
        "            self._ring.commit(frame)",
        "            self._audio.send(frame)\n            self._ring.commit(frame)",
        "test_failpoint.py::test_capture_publishes_nothing_that_is_not_in_its_ring",
    ),
    Mutation(
        "no checksum in the ring",
        f"{_CAPTURE}/ring.py",
        "if found != seq or crc != zlib.crc32(body):",
        "if found != seq:",
        "test_capture_ring.py::test_a_flipped_bit_is_noticed",
    ),
    Mutation(
        "no lock before bind",
        f"{_PROTO}/service/node.py",
        "            self._lock.acquire(LOCK_TIMEOUT_S)\n",
        "",
        "test_node.py::test_a_second_instance_names_the_first_and_leaves_it_alone",
    ),
    Mutation(
        "no parent-death signal",
        f"{_PROTO}/service/launch.py",
        "    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)\n",
        "",
        "test_launch.py::test_a_service_dies_with_its_supervisord_even_when_it_is_frozen",
    ),
    Mutation(
        "the expected parent is not compared",
        f"{_PROTO}/service/launch.py",
        "if os.getppid() != int(expected):",
        "if False:",
        "test_launch.py::test_a_service_whose_supervisord_died_before_the_request_exits",
    ),
    Mutation(
        "a program is monitored from its first heartbeat",
        f"{_WATCHDOG}/liveness.py",
        "if not program.is_monitored:",
        "if not (program.is_monitored and program.has_heartbeat):",
        "test_watchdog_liveness.py::test_a_program_without_a_heartbeat_is_killed_after_its_startup_timeout",
    ),
    Mutation(
        "a heartbeat of another process counts",
        f"{_WATCHDOG}/liveness.py",
        "if not program or program.pid != heartbeat.pid:",
        "if not program:",
        "test_watchdog_liveness.py::test_heartbeats_of_another_process_do_not_count",
    ),
    Mutation(
        "acknowledged before it is stored",
        f"{_JOURNAL}/service.py",
        '        failpoint("journal.entry.received")\n',
        "        for id_ in self._unstored:\n"
        "            self._commits.send(Committed(utterance_id=id_, journal_seq=0))\n"
        '        failpoint("journal.entry.received")\n',
        "test_failpoint.py::test_journal_acknowledges_nothing_that_is_not_stored",
    ),
    Mutation(
        "missing frames are not requested",
        f"{_VAD}/reorder_buffer.py",
        "if self.next_seq >= self._head_seq or len(self._ready) >= MAX_REQUESTED:",
        "if True:",
        "test_vad_reorder_buffer.py::test_a_lost_tail_is_found_by_the_head",
    ),
    Mutation(
        "no context before a frame",
        f"{_VAD}/silero.py",
        "        self._context = samples[-1:, -CONTEXT_SAMPLES:]\n",
        "",
        "test_vad_silero.py::test_each_frame_is_preceded_by_the_last_64_samples_of_the_frame_before",
    ),
    Mutation(
        "the rest of a cut off utterance is noise when it is short",
        f"{_VAD}/stream.py",
        "if not self._decisions.checkpoint.cut_off:",
        "if True:",
        "test_vad_stream.py::test_an_utterance_that_was_cut_off_and_continues_loses_no_speech",
    ),
    Mutation(
        "a result is sent once",
        f"{_TRANSCRIBE}/job_queue.py",
        "waiting.send_at_s = now_s + RESEND_S",
        'waiting.send_at_s = float("inf")',
        "test_transcribe_job_queue.py::test_a_result_is_sent_again_until_it_is_committed",
    ),
    Mutation(
        "an early result is used for any segment of its utterance",
        f"{_TRANSCRIBE}/job_queue.py",
        "return early if early and early.span == span_of(final) else None",
        "return early",
        "test_transcribe_job_queue.py::test_an_early_result_is_for_exactly_its_span",
    ),
)


def copy_to(directory: Path) -> Path:
    """Another checkout, of the working tree as it is."""
    for folder in COPIED:
        shutil.copytree(ROOT / folder, directory / folder, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    shutil.copy(ROOT / "pyproject.toml", directory)
    return directory


def mutate(checkout: Path, mutation: Mutation) -> None:
    path = checkout / mutation.file
    text = path.read_text()
    assert text.count(mutation.old) == 1, f"{mutation.file} has changed: write the mutation {mutation.name!r} anew"
    path.write_text(text.replace(mutation.old, mutation.new))


def environment(checkout: Path) -> dict[str, str]:
    """In which Python imports the checkout, and not what is installed."""
    packages = [checkout / "proto", checkout / "bundle", checkout / "tests", *sorted((checkout / "services").iterdir())]
    return os.environ | {"PYTHONPATH": ":".join(map(str, packages)), "PYTHONDONTWRITEBYTECODE": "1"}


def run_tests(checkout: Path, *tests: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider"]
    return subprocess.run(
        [*command, *(f"tests/{test}" for test in tests)],
        cwd=checkout,
        env=environment(checkout),
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
    )
