"""What only a service can tell, as only it has the format or the library: its module prints that as JSON."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

from .bundle import BundleError

TIMEOUT_S = 20.0


def query(module: str, option: str, failure: str, environment: Mapping[str, str] = os.environ) -> Any:
    """Runs `python -m MODULE OPTION`. Raises BundleError, with `failure` and its last line, when that ends badly."""
    done = subprocess.run(
        [sys.executable, "-P", "-m", module, option],
        env=environment,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        stdin=subprocess.DEVNULL,
    )
    if done.returncode:
        raise BundleError(f"{failure}: {done.stderr.strip().rpartition(chr(10))[2]}", 1)
    return json.loads(done.stdout)
