"""One process that feeds a reader; the driver watches it from outside.

It writes each input to `current`, reads it, and says on standard output how that went. When it dies or hangs on an
input, the file is still there.
"""

import faulthandler
import importlib
import json
import os
import resource
import sys
import time
import traceback
import tracemalloc
from pathlib import Path
from random import Random

from benchmarks.fuzz.mutate import mutate
from benchmarks.fuzz.reader import Reader
from withstand.core.errors import WithstandError

CONSTANT = 1 << 30
"""Bytes of address space that a process may take beyond what it has after its first inputs: more is refused to it."""
WARM = 3
"""Valid inputs that are read first, so that libraries are loaded before anything is measured."""


def found(name: str) -> Reader:
    """Return a reader by its module's name."""
    reader: Reader = importlib.import_module(f"benchmarks.fuzz.readers.{name}").READER
    return reader


def content(reader: Reader, draws: Random) -> bytes:
    """Draw one input: a valid file's bytes mutated, a twisted file, or a twisted file's bytes mutated."""
    kind = draws.randrange(10)
    if kind == 0:
        return reader.valid(draws)
    if kind <= 4:
        return mutate(reader.valid(draws), reader.valid(draws), draws)
    whole = reader.twisted(draws)
    return whole if kind <= 7 else mutate(whole, reader.valid(draws), draws)


def outcome(reader: Reader, current: Path, size: int) -> dict[str, object]:
    """Read one file and return what came of it."""
    before, resident = tracemalloc.get_traced_memory()[0], _resident()
    tracemalloc.reset_peak()
    try:
        reader.read(current)
        said = {"outcome": "read"}
    except WithstandError as error:
        text = str(error)
        said = {"outcome": "refused"}
        if "\n" in text or len(text) > 2000:
            said = {"outcome": "long message", "detail": text[:4000]}
    except MemoryError:
        said = {"outcome": "allocation", "detail": traceback.format_exc(limit=-8)}
    except Exception:
        said = {"outcome": "crash", "detail": traceback.format_exc(limit=-8)}
    allocated = max(tracemalloc.get_traced_memory()[1] - before, _resident() - resident)
    if allocated > reader.times * size + reader.allowance:
        said = {"outcome": "allocation", "detail": f"{allocated:,} bytes for a file of {size:,}"}
    return {**said, "allocated": allocated}


def _resident() -> int:
    """Return the most memory that the process has held so far, without what tracing takes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - tracemalloc.get_tracemalloc_memory()


def _address_space() -> int:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    return pages * resource.getpagesize()


def main(name: str, seed: int, current: Path) -> None:
    faulthandler.enable()
    reader = found(name)
    for number in range(WARM):
        current.write_bytes(reader.valid(Random(number)))
        reader.read(current)
    print(json.dumps({"started": name}), flush=True)
    limit = _address_space() + CONSTANT
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    tracemalloc.start(1)
    number = 0
    while True:
        whole = content(reader, Random(f"{seed}/{number}"))
        current.write_bytes(whole)
        said = outcome(reader, current, len(whole))
        if said["outcome"] not in ("read", "refused"):  # the driver looks later than the next input is written
            said["input"] = str(current.with_name(f"input-{number}{reader.suffix}"))
            Path(str(said["input"])).write_bytes(whole)
        said["spent"] = time.process_time()
        print(json.dumps(said), flush=True)
        number += 1


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))
