"""A microphone without hardware: a private PulseAudio server, whose null sink's monitor is the recording device.

What is played is recorded bit for bit (16 kHz, mono, 16 bit), 60 ms later. `norewinds=1` is essential: without it the
null sink delivers its sound in blocks of two seconds.
"""

import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

START_S = 10.0
RATE_HZ = 16_000
_ALSA_DEVICE = 'pcm.NAME {type pulse device "NAME.monitor" hint {show on}}\n'
_ALSA_DEFAULT = "pcm.!default {type pulse}\nctl.!default {type pulse}\n"


class VirtualMicrophone:
    """`with VirtualMicrophone() as microphone:`; a recording process needs the variables `microphone.environment`.

    Its devices are `vmic`, which is also `default`, and with a `count` above one `vmic2` and so on. Skips the test
    where PulseAudio is not installed.
    """

    def __init__(self, count: int = 1):
        self.devices = [f"vmic{number if number > 1 else ''}" for number in range(1, count + 1)]

    def __enter__(self) -> "VirtualMicrophone":
        for program in ("pulseaudio", "paplay", "pactl"):
            if not shutil.which(program):
                pytest.skip(f"{program} is not installed (apt install pulseaudio pulseaudio-utils)")
        self._directory = Path(tempfile.mkdtemp(prefix="vm-"))  # short: it holds a socket
        alsa = "".join(_ALSA_DEVICE.replace("NAME", device) for device in self.devices) + _ALSA_DEFAULT
        Path(self._directory, "asound.conf").write_text(alsa)
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
        """The pid of the sound server."""
        return self._server.pid

    def play(self, path: Path, device: str = "vmic") -> subprocess.Popen:
        """The process that plays a WAV file into the microphone."""
        return subprocess.Popen(["paplay", f"--device={device}", str(path)], env=self._environment())

    def record(self, device: str = "vmic") -> subprocess.Popen:
        """A process that writes the recorded samples to its `stdout` every few milliseconds, until it is killed."""
        raw = ("--raw", f"--rate={RATE_HZ}", "--channels=1", "--format=s16le", "--latency-msec=10")
        command = ["parec", *raw, f"--device={device}.monitor"]
        return subprocess.Popen(command, env=self._environment(), stdout=subprocess.PIPE)

    def kill(self) -> None:
        """Kills the sound server, as in a crash."""
        self._server.kill()
        self._server.wait()

    def restart(self) -> None:
        """After `kill`: starts a new sound server at the same address; returns when it is ready."""
        self._start()

    def unload_source(self) -> None:
        """Removes the microphone; the sound server continues to run."""
        self._control("unload-module", "module-null-sink")

    def load_source(self) -> None:
        """Adds the microphone again."""
        self._control("load-module", *_null_sink("vmic"))

    def load_other_source(self) -> None:
        """Adds a second microphone that no source names: `other.monitor`."""
        self._control("load-module", *_null_sink("other"))

    def move(self, source: str) -> None:
        """Moves the running recording to this source, as a sound server may do."""
        recordings = subprocess.check_output(["pactl", "list", "short", "source-outputs"], env=self._environment())
        self._control("move-source-output", recordings.decode().split()[0], source)

    def _start(self) -> None:
        Path(self._directory, "native").unlink(missing_ok=True)
        server = ["pulseaudio", "-n", "--daemonize=no", "--use-pid-file=no", "--exit-idle-time=300", "--disable-shm"]
        protocol = f"module-native-protocol-unix auth-anonymous=1 auth-cookie-enabled=0 socket={self._directory}/native"
        modules = [protocol, *(" ".join(_null_sink(device)) for device in self.devices)]
        loads = [word for module in modules for word in ("-L", module)]
        self._server = subprocess.Popen([*server, *loads], env=self._environment(), stderr=subprocess.DEVNULL)
        deadline_s = time.monotonic() + START_S
        while subprocess.run(["pactl", "info"], env=self._environment(), capture_output=True).returncode:
            assert time.monotonic() < deadline_s and self._server.poll() is None, "PulseAudio does not start"
            time.sleep(0.01)

    def _control(self, *command: str) -> None:
        subprocess.run(["pactl", *command], env=self._environment(), check=True, stdout=subprocess.DEVNULL)

    def _environment(self) -> dict[str, str]:
        private = {"HOME": str(self._directory), "XDG_RUNTIME_DIR": str(self._directory)}
        return dict(os.environ) | private | self.environment


def _null_sink(name: str) -> tuple[str, ...]:
    return ("module-null-sink", f"sink_name={name}", f"rate={RATE_HZ}", "channels=1", "format=s16le", "norewinds=1")
