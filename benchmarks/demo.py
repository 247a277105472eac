"""The demo, from a cold start: seconds, and the peak resident memory of its process.

python benchmarks/demo.py [results.jsonl]
"""

import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory


def main(path: str | None = None) -> None:
    times = []
    for _ in range(3):
        start = time.perf_counter()
        subprocess.run([sys.executable, "-m", "withstand", "--help"], check=True, capture_output=True)
        times.append(time.perf_counter() - start)
    with TemporaryDirectory() as folder:
        start = time.perf_counter()
        subprocess.run([sys.executable, "-m", "withstand", "demo", "--out", f"{folder}/demo"], check=True)
        seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    print(f"withstand --help: {min(times):.2f} s; withstand demo: {seconds:.0f} s, {peak:.2f} GiB at most")
    if path is not None:
        with Path(path).open("a") as file:
            for work, value in (("help, seconds", min(times)), ("demo, seconds", seconds), ("demo, GiB", peak)):
                file.write(json.dumps({"work": work, "ours": value, "peers": {}, "ratio": {}}) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:2])
