"""What workers of test_cluster.py do instead of predicting."""

import os
import time

import distributed


def count_files(job, files):
    """Rows that tell how many files came together."""
    time.sleep(0.5)
    if any("killer" in path for _, path in files):
        os._exit(1)
    rows = [([{"path": path, "files": len(files)}], True) for _, path in files]
    return distributed.get_worker().address, "done", (0.5, rows)
