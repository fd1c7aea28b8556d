"""Programs of this project, run as processes of their own."""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

from common import PARENT
from common.core import messages, stopping


def run_python(
    *arguments: object, seconds: float | None = None, env: Mapping[str, str] = os.environ, **settings: Any
) -> int:
    """Run `python ARGUMENTS...` and return its exit code.

    Where this program is stopped, so is the other, and saves what it has; subprocess.run would kill it after Ctrl-C.

    Args:
        seconds: After these it is stopped too.
        env, settings: Of subprocess.Popen.

    Raises:
        subprocess.TimeoutExpired: The seconds were over.
    """
    env = {**env, PARENT: str(os.getpid()), messages.VARIABLE: str(messages.level)}
    process = None
    try:
        with stopping.starting():
            process = subprocess.Popen([sys.executable, *map(str, arguments)], env=env, **settings)
        return process.wait(seconds)
    except (KeyboardInterrupt, SystemExit, subprocess.TimeoutExpired) as stop:
        if process:
            process.send_signal(signal.SIGINT if isinstance(stop, KeyboardInterrupt) else signal.SIGTERM)
            process.wait()
        raise
