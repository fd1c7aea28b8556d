"""Programs of this project, run as processes of their own."""

import subprocess
import sys


def run_python(*arguments: object, **settings) -> int:
    """Run `python ARGUMENTS...` and return its exit code.  settings: of subprocess.Popen.

    subprocess.run would kill the program soon after Ctrl-C.
    """
    with subprocess.Popen([sys.executable, *map(str, arguments)], **settings) as process:
        try:
            return process.wait()
        except KeyboardInterrupt:  # the program has got it too and saves what it has
            process.wait()
            raise
