"""`make fuzz` and `make stops` run: their programs share much with the tests, and nothing else would show a break."""

import os

import pytest
from conftest import PROJECT

pytestmark = pytest.mark.slow
PATHS = f"{PROJECT}{os.pathsep}{PROJECT / 'tests'}"


@pytest.mark.parametrize(
    "command",
    [
        ("fuzz", "--inputs", 3, "--kind", "pictures", "--kind", "weight files", "--kind", "archives"),
        ("fuzz.stops", "--moments", 1, "--command", "predict"),
    ],
    ids=lambda command: command[0],
)
def test_a_few_of_its_inputs_show_no_fault(command, run):
    done = run("-m", *command, PYTHONPATH=PATHS)
    assert done.returncode == 0, done.stdout + done.stderr
