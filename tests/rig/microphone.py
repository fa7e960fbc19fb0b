"""A microphone without hardware: a private, headless PulseAudio whose null sink is heard by whoever records.

What is played comes out of the recording bit for bit (16 kHz, mono, 16 bit), 60 ms later. `norewinds=1` is
essential: without it the null sink delivers its sound in blocks of two seconds.
"""

import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

START_S = 10.0
_ALSA = """
pcm.vmic {type pulse device "vmic.monitor" hint {show on}}
pcm.!default {type pulse}
ctl.!default {type pulse}
"""


class VirtualMicrophone:
    """`with VirtualMicrophone() as microphone:` gives `microphone.environment` to the recording process.

    Its devices are `vmic` and `default`. Skips the test where PulseAudio is not installed.
    """

    def __enter__(self) -> "VirtualMicrophone":
        for program in ("pulseaudio", "paplay", "pactl"):
            if not shutil.which(program):
                pytest.skip(f"{program} is not installed (apt install pulseaudio pulseaudio-utils)")
        self._directory = Path(tempfile.mkdtemp(prefix="vm-"))  # short: it holds a socket
        Path(self._directory, "asound.conf").write_text(_ALSA)
        self.environment = {
            "PULSE_SERVER": f"unix:{self._directory}/native",
            "ALSA_CONFIG_PATH": f"{self._directory}/asound.conf",
        }
        self._start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.kill()
        shutil.rmtree(self._directory)

    @property
    def pid(self) -> int:
        """Of the sound server, to stop and continue it."""
        return self._server.pid

    def play(self, path: Path) -> subprocess.Popen:
        """Plays a WAV file into the microphone; `wait()` for it, or `kill()` it."""
        return subprocess.Popen(["paplay", str(path)], env=self._environment())

    def kill(self) -> None:
        """The sound server dies at once, as in a crash."""
        self._server.kill()
        self._server.wait()

    def restart(self) -> None:
        """After `kill`: a new sound server on the old address, ready when this returns."""
        self._start()

    def unload_source(self) -> None:
        """Unplugs the microphone; the sound server stays."""
        self._control("unload-module", "module-null-sink")

    def load_source(self) -> None:
        """Plugs it in again."""
        self._control("load-module", *_NULL_SINK)

    def load_other_source(self) -> None:
        """Plugs in a second microphone, which nobody asked for: `other.monitor`."""
        self._control("load-module", *_NULL_SINK[:1], "sink_name=other", *_NULL_SINK[2:])

    def move(self, source: str) -> None:
        """Lets whoever records hear this source from now on."""
        recordings = subprocess.check_output(["pactl", "list", "short", "source-outputs"], env=self._environment())
        self._control("move-source-output", recordings.decode().split()[0], source)

    def _start(self) -> None:
        Path(self._directory, "native").unlink(missing_ok=True)
        server = ["pulseaudio", "-n", "--daemonize=no", "--use-pid-file=no", "--exit-idle-time=300", "--disable-shm"]
        protocol = f"module-native-protocol-unix auth-anonymous=1 auth-cookie-enabled=0 socket={self._directory}/native"
        self._server = subprocess.Popen(
            [*server, "-L", protocol, "-L", " ".join(_NULL_SINK)], env=self._environment(), stderr=subprocess.DEVNULL
        )
        deadline_s = time.monotonic() + START_S
        while subprocess.run(["pactl", "info"], env=self._environment(), capture_output=True).returncode:
            assert time.monotonic() < deadline_s and self._server.poll() is None, "PulseAudio does not start"
            time.sleep(0.01)

    def _control(self, *command: str) -> None:
        subprocess.run(["pactl", *command], env=self._environment(), check=True, stdout=subprocess.DEVNULL)

    def _environment(self) -> dict[str, str]:
        private = {"HOME": str(self._directory), "XDG_RUNTIME_DIR": str(self._directory)}
        return dict(os.environ) | private | self.environment


_NULL_SINK = ("module-null-sink", "sink_name=vmic", "rate=16000", "channels=1", "format=s16le", "norewinds=1")
