"""Whisper tiny.en's published weights, for tests about words. Without them such tests are skipped, loudly."""

import os
from pathlib import Path

import pytest

from voicetap_transcribe import weights

REQUIRED = "REQUIRE_WEIGHTS"  # set in CI: there a test without weights fails
skipped: list[str] = []  # tests, for the summary of the run


def directory() -> Path:
    """The directory of the weights. Skips the test where the package index does not have them."""
    if found := weights.packaged("Systran/faster-whisper-tiny.en"):
        return found[0]
    if os.environ.get(REQUIRED):
        pytest.fail("Whisper's weights are not installed (requirements-weights.lock)")
    skipped.append(os.environ.get("PYTEST_CURRENT_TEST", "").partition(" ")[0])
    pytest.skip("Whisper's weights are not installed (requirements-weights.lock)")
