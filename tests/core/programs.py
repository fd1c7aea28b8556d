"""Programs with a main() of their own, as processes."""

import os
import subprocess
import sys
import textwrap
import time

from conftest import PROJECT

HEAD = """
import os, signal, sys, threading, time
from pathlib import Path
from common.cli.program import run
from common.core import stopping
folder = Path(sys.argv[1])
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # nohup lets it be ignored, and so it would stay
def stop(number, after=0.3):
    threading.Timer(after, os.kill, [os.getpid(), number]).start()
"""


def start(folder, body, **how):
    """A program whose main() has this body, with a folder of temporary files, `folder`/tmp, of its own."""
    (folder / "tmp").mkdir(exist_ok=True)
    program = f"{HEAD}\ndef main():\n{textwrap.indent(textwrap.dedent(body), '    ')}\n    return 0\nrun(main)"
    environment = {**os.environ, "TMPDIR": str(folder / "tmp")}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, **how}
    return subprocess.Popen([sys.executable, "-c", program, str(folder)], cwd=PROJECT, env=environment, **pipes)


def wait_for(condition, seconds=20):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)
