"""Campaigns that take minutes and are no part of the tests: damaged inputs (`make fuzz`) and stops (`make stops`)."""

import os

os.environ["OMP_NUM_THREADS"] = "2"
