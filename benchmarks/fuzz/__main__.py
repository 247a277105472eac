"""Fuzz a reader of files: no crash, no hang, no allocation beyond a few times the file and a constant.

Run: python -m benchmarks.fuzz READER [--seconds 60] [--seed 0] [--patience 20] [--keep FOLDER]

READER is a module of benchmarks/fuzz/readers. Inputs are valid files with damaged bytes, and files that are well formed
but odd. A reader may refuse one with an error of withstand.core.errors, in one line; anything else is a failure, and
its input is kept. Exit code 1 when there was one. Memory is what tracing and the largest resident size tell, above
what the process held before: twice the file and 32 MiB may be taken, three times the file by tables and edge lists,
and 96 MiB by pictures. Tests of readers hold tables and edge lists to that on large files, beside the tensors kept.
"""

import argparse
import json
import os
import queue
import shutil
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.fuzz.worker import found

FAILURES = ("crash", "allocation", "long message", "hang", "death", "no start")
START = 300.0
"""Seconds that a worker may take for its imports and first inputs."""


@dataclass
class Fuzz:
    """One reader's fuzzing.

    Attributes:
        name: the reader.
        patience: seconds after which one input counts as a hang.
        keep: where inputs that failed are kept.
        counts: how often each outcome came.
        seen: failures that were told.
        most: bytes that the largest of all inputs' reading allocated.
        spent: processor time of the workers so far, in seconds.
    """

    name: str
    patience: float
    keep: Path
    counts: Counter[str] = field(default_factory=Counter)
    seen: set[str] = field(default_factory=set)
    most: int = 0
    spent: float = 0.0

    def run(self, seconds: float, seed: int) -> None:
        """Feed the reader for a while of processor time, by one process after the other where one dies."""
        with tempfile.TemporaryDirectory() as folder:
            current = Path(folder) / f"current{found(self.name).suffix}"
            while self.spent < seconds and not self.counts["no start"]:
                for said in self._process(str(seed + self.counts["processes"]), current):
                    self.counts[said["outcome"]] += 1
                    self.most = max(self.most, int(said.get("allocated", 0)))
                    if said["outcome"] in FAILURES:
                        self._tell(said["outcome"], said.get("detail", ""), Path(said.get("input", current)))
                    if self.spent >= seconds:
                        break

    def _process(self, seed: str, current: Path) -> Iterator[dict[str, Any]]:
        """Run one worker and yield what it says of each input, and at last how it ended."""
        self.counts["processes"] += 1
        before = self.spent
        with tempfile.TemporaryFile("w+", encoding="utf-8") as errors:
            worker = subprocess.Popen(
                [sys.executable, "-m", "benchmarks.fuzz.worker", self.name, seed, str(current)],
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env={**os.environ, "OMP_NUM_THREADS": "1"},
            )
            lines: queue.Queue[str] = queue.Queue()
            listener = threading.Thread(target=_listen, args=(worker, lines), daemon=True)
            listener.start()
            begun = False
            try:
                while line := lines.get(timeout=self.patience if begun else START):
                    begun, said = True, json.loads(line)
                    if "outcome" in said:
                        self.counts["inputs"] += 1
                        self.spent = before + said["spent"]
                        yield said
                errors.seek(0)
                code, text = worker.wait(), errors.read()[-4000:]
                yield {"outcome": "death" if begun else "no start", "detail": f"exit code {code}\n{text}"}
            except queue.Empty:
                self.spent += self.patience
                yield {"outcome": "hang" if begun else "no start", "detail": "it said nothing for too long"}
            finally:
                worker.kill()
                worker.wait()
                listener.join()

    def _tell(self, outcome: str, detail: str, content: Path) -> None:
        """Print a failure and keep its input, once for each place in the code that it comes from."""
        lines = detail.splitlines()
        places = [line for line in lines if line.lstrip().startswith("File")]
        mark = " ".join([outcome, *(line.partition(":")[0] for line in lines[-1:]), *places[-1:]])
        if mark in self.seen:
            return
        self.seen.add(mark)
        self.keep.mkdir(parents=True, exist_ok=True)
        place = self.keep / f"{outcome.replace(' ', '-')}-{len(self.seen)}{content.suffix}"
        if content.is_file():  # a process that did not start has written none
            shutil.copy(content, place)
        print(f"{outcome}: {place}\n{detail}", flush=True)


def _listen(worker: subprocess.Popen[str], lines: "queue.Queue[str]") -> None:
    assert worker.stdout is not None
    for line in worker.stdout:
        lines.put(line)
    lines.put("")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("reader")
    parser.add_argument("--seconds", type=float, default=60.0, help="processor time of the workers")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--patience", type=float, default=20.0, help="seconds after which one input counts as a hang")
    parser.add_argument("--keep", type=Path, default=Path(tempfile.gettempdir()) / "withstand-fuzz")
    options = parser.parse_args()
    work = Fuzz(options.reader, options.patience, options.keep / options.reader)
    work.run(options.seconds, options.seed)
    told = [*(f"{count:,} {name}" for name, count in work.counts.items())]
    told += [f"at most {work.most >> 20} MiB allocated", f"{work.spent:.0f} s of processor time"]
    print(f"{options.reader}: {', '.join(told)}")
    return int(any(work.counts[name] for name in FAILURES))


if __name__ == "__main__":
    sys.exit(main())
