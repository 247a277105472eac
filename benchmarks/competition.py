"""Competition instances (VNN-LIB): ACAS-Xu properties 1 to 4, mnistfc, oval21, ResNets; 60 s of processor time each.

Run: WITHSTAND_DATA=... python -m benchmarks.competition OUT.jsonl [--family acasxu-1 ...] [--count 5] [--peers FOLDER]

One line of JSON an instance, appended when it is answered; the same command goes on where it stopped. Every
counterexample is shown to onnxruntime, in the file's own precision. FOLDER may hold other tools' answers, one
`TOOL.csv` each, in the form of github.com/stanleybak/vnncomp2021_results: how many say what is stored beside ours.
The ResNets come without properties: boxes of 2/255 (2b) and 1/255 (4b) round the first test pictures they get right.
"""

import argparse
import csv
import importlib.metadata
import io
import json
import os
import tempfile
import time
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

import numpy as np
import torch

from withstand.verification.exchange.instance import Instance
from withstand.verification.exchange.onnx_import import read_onnx
from withstand.verification.exchange.solve import solve
from withstand.verification.exchange.vnnlib_write import margin_specification, write_vnnlib

DATA = Path(os.environ["WITHSTAND_DATA"])
RESNETS = {"resnet_2b": 2 / 255, "resnet_4b": 1 / 255}
MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2471, 0.2435, 0.2616)
PICTURES = 6
ANSWERS = {"safe": "unsat", "unsafe": "sat", "unknown": "timeout"}
PEER_ANSWERS = {"holds": "unsat", "violated": "sat", "UNSAT": "unsat", "SAT": "sat"}


@dataclass(frozen=True)
class Task:
    """One instance: a family's archive, and the two files in it (the second may be made)."""

    family: str
    archive: str
    network: str
    property: str

    @property
    def name(self) -> str:
        return f"{Path(self.network).stem} {Path(self.property).stem}"


def tasks() -> list[Task]:
    """Return all instances, every family's first ones first."""
    families: dict[str, list[Task]] = {f"acasxu-{number}": [] for number in range(1, 5)}
    for network, asked in _rows("acasxu", "acasxu_instances.csv"):
        family = f"acasxu-{asked.removeprefix('prop_').removesuffix('.vnnlib')}"
        if family in families:
            families[family].append(Task(family, "acasxu", network, asked))
    for network, asked in _rows("mnistfc", "mnistfc_instances.csv"):
        family = "mnistfc-" + network.removeprefix("mnist-net_").removesuffix(".onnx")
        if family != "mnistfc-256x6":
            families.setdefault(family, []).append(Task(family, "mnistfc", network, asked))
    present = set(zipfile.ZipFile(DATA / "vnncomp/oval21.zip").namelist())
    rows = _rows("oval21", "oval21_instances.csv")
    families["oval21"] = [Task("oval21", "oval21", *row) for row in rows if row[1] in present]
    for name in RESNETS:
        pictures = [f"picture-{place}" for place in range(PICTURES)]
        families[name] = [Task(name, "cifar10_resnet", f"onnx/{name}.onnx", picture) for picture in pictures]
    return [task for few in zip_longest(*families.values()) for task in few if task is not None]


def _rows(archive: str, listing: str) -> Iterator[tuple[str, str]]:
    text = zipfile.ZipFile(DATA / f"vnncomp/{archive}.zip").read(listing).decode()
    for row in csv.reader(io.StringIO(text)):
        yield row[0].strip(), row[1].strip()


def prepared(task: Task, folder: Path) -> tuple[Path, Path]:
    """Return the instance's two files."""
    with zipfile.ZipFile(DATA / f"vnncomp/{task.archive}.zip") as archive:
        network = Path(archive.extract(task.network, folder))
        if task.family not in RESNETS:
            return network, Path(archive.extract(task.property, folder))
    asked = folder / f"{task.family}-{task.property}.vnnlib"
    stored = np.load(DATA / "cifar10/cifar10_5k_2k.npz")
    x = torch.from_numpy(stored["x_test"][:100]).permute(0, 3, 1, 2).float() / 255
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (MEAN, STD))
    model = read_onnx(network).eval()
    with torch.no_grad():
        answers = torch.cat([model((picture[None] - mean) / std) for picture in x]).argmax(1)
    labels = torch.from_numpy(stored["y_test"][:100]).long()
    place = int((answers == labels).nonzero().flatten()[int(task.property.removeprefix("picture-"))])
    low, high = (x[place] - RESNETS[task.family]).clamp_min(0), (x[place] + RESNETS[task.family]).clamp_max(1)
    box = [((side - mean) / std).double() for side in (low, high)]
    asked.write_text(write_vnnlib(margin_specification(*box, int(labels[place]), 10), task.name), encoding="utf-8")
    return network, asked


def peers(folder: Path | None) -> dict[str, dict[str, str]]:
    """Return other tools' answers by instance."""
    found: dict[str, dict[str, str]] = {}
    for path in sorted(folder.glob("*.csv")) if folder else ():
        for row in csv.reader(path.open(encoding="utf-8")):
            if len(row) > 4 and row[4] in PEER_ANSWERS:
                name = f"{Path(row[1]).stem} {Path(row[2]).stem}"
                found.setdefault(name, {})[path.stem] = PEER_ANSWERS[row[4]]
    return found


def answered(task: Task, limit: float) -> dict[str, object]:
    """Solve one instance and return its record."""
    with tempfile.TemporaryDirectory() as folder:
        network, asked = prepared(task, Path(folder))
        wall, processor = time.perf_counter(), time.process_time()
        instance = Instance.read(network, asked)
        verdict = solve(instance, timeout=limit, clock=time.process_time)
        record: dict[str, object] = {
            "family": task.family,
            "instance": task.name,
            "answer": ANSWERS[verdict.status],
            "seconds": round(time.perf_counter() - wall, 3),
            "processor seconds": round(time.process_time() - processor, 3),
            "method": verdict.method,
            "steps": verdict.steps,
            "reason": verdict.reason,
        }
        if verdict.counterexample is not None:
            record["shown to onnxruntime"] = instance.broken(verdict.counterexample)
    return record


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--family", nargs="*", help="these alone")
    parser.add_argument("--count", type=int, help="the first ones of each family")
    parser.add_argument("--at-most", type=int, help="end after so many new answers")
    parser.add_argument("--limit", type=float, default=60.0, help="seconds of processor time for each")
    parser.add_argument("--peers", type=Path, help="a folder of other tools' answers")
    parser.add_argument("--again", action="store_true", help="try again what timed out")
    options = parser.parse_args()
    lines = options.out.read_text(encoding="utf-8").splitlines() if options.out.exists() else []
    done = {record["instance"]: record for record in map(json.loads, lines) if "instance" in record}
    others, seen = peers(options.peers), dict.fromkeys((task.family for task in tasks()), 0)
    fresh = 0
    for task in tasks():
        seen[task.family] += 1
        if fresh == options.at_most:
            break
        if (options.family and task.family not in options.family) or seen[task.family] > (options.count or 10**6):
            continue
        before = done.get(task.name)
        if before is not None and (before["answer"] != "timeout" or not options.again):
            continue
        fresh += 1
        record = answered(task, options.limit)
        said = others.get(task.name, {})
        record |= {
            "limit": options.limit,
            "threads": torch.get_num_threads(),
            "others": {answer: sum(value == answer for value in said.values()) for answer in ("sat", "unsat")},
            "versions": {"torch": torch.__version__, "withstand": importlib.metadata.version("withstand")},
        }
        print(
            f"{task.family:14} {task.name:60} {record['answer']:8} {record['seconds']:7} s",
            record["others"],
            flush=True,
        )
        with options.out.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")


if __name__ == "__main__":
    main()
