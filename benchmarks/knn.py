"""kNN probe against scikit-learn's brute force: 50,000 x 512 bank, 10,000 queries, k = 200, votes exp(cos / 0.1).

    python benchmarks/knn.py [RESULTS.jsonl]

Prints a table; with a path, appends JSON lines {"work", "ours", "peers", "ratio"}, where a ratio is ours over the
peer's. scikit-learn runs with all cores, in two ways: by cosine as a user would write it, and by Euclidean distance on
unit vectors, which ranks alike and is its fastest way. Times are the best of several runs, taken in turns. Memory is
the growth of the resident set's high-water mark in a fresh process, without the features themselves.
"""

import json
import multiprocessing
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from sklearn.neighbors import KNeighborsClassifier
from torch import Tensor
from torch.nn.functional import normalize

from withstand.evaluation.probes.knn import vote

BANK, QUERIES, WIDTH, K, TEMPERATURE, CLASSES, ROUNDS = 50_000, 10_000, 512, 200, 0.1, 100, 3


def features() -> tuple[Tensor, Tensor, Tensor]:
    """Overlapping clusters of unit vectors, so that votes are neither trivial nor chance."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, CLASSES, (BANK + QUERIES,), generator=generator)
    centers = torch.randn(CLASSES, WIDTH, generator=generator)
    x = normalize(0.3 * centers[labels] + torch.randn(BANK + QUERIES, WIDTH, generator=generator), dim=1)
    return x[:BANK], labels[:BANK], x[BANK:]


def ours(bank: Tensor, labels: Tensor, queries: Tensor) -> np.ndarray:
    return vote(bank, labels, queries, k=K, temperature=TEMPERATURE).argmax(1).numpy()


def by_cosine(bank: Tensor, labels: Tensor, queries: Tensor) -> np.ndarray:
    return peer("cosine", lambda distance: np.exp((1 - distance) / TEMPERATURE), bank, labels, queries)


def by_unit_vectors(bank: Tensor, labels: Tensor, queries: Tensor) -> np.ndarray:
    # |a - b|^2 = 2 - 2 cos for unit vectors.
    return peer("euclidean", lambda distance: np.exp((1 - distance**2 / 2) / TEMPERATURE), bank, labels, queries)


def peer(
    metric: str, weights: Callable[[np.ndarray], np.ndarray], bank: Tensor, labels: Tensor, queries: Tensor
) -> np.ndarray:
    model = KNeighborsClassifier(K, weights=weights, algorithm="brute", metric=metric, n_jobs=-1)
    return model.fit(bank.numpy(), labels.numpy()).predict(queries.numpy())


SIDES = {"ours": ours, "scikit-learn, cosine": by_cosine, "scikit-learn, unit vectors": by_unit_vectors}


def high_water() -> int:
    """Return the resident set's high-water mark in KiB; unlike `ru_maxrss` it is not inherited from the parent."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(status.partition("VmHWM:")[2].split()[0])


def growth(name: str, stored: Path, channel: "multiprocessing.Queue[float]") -> None:
    # Read from a file: making the features would leave a high-water mark of its own.
    bank, labels, queries = (torch.from_numpy(np.load(stored / f"{part}.npy")) for part in range(3))
    SIDES[name](bank[:2000], labels[:2000], queries[:100])  # libraries and threads are not what is measured
    before = high_water()
    SIDES[name](bank, labels, queries)
    channel.put((high_water() - before) / 1024)


def mebibytes(name: str) -> float:
    context = multiprocessing.get_context("spawn")
    channel = context.Queue()
    with tempfile.TemporaryDirectory() as folder:
        for part, values in enumerate(features()):
            np.save(Path(folder) / f"{part}.npy", values.numpy())
        process = context.Process(target=growth, args=(name, Path(folder), channel))
        process.start()
        value = channel.get()
        process.join()
    return value


def main() -> None:
    data = features()
    best = dict.fromkeys(SIDES, float("inf"))
    found = {}
    for _ in range(ROUNDS):
        for name, side in SIDES.items():
            start = time.perf_counter()
            found[name] = side(*data)
            best[name] = min(best[name], time.perf_counter() - start)
    work = f"kNN probe, {BANK:,} x {WIDTH} bank, {QUERIES:,} queries, k = {K}"
    records = []
    for what, values in (
        (f"{work}: seconds", best),
        (f"{work}: peak extra memory, MiB", {name: mebibytes(name) for name in SIDES}),
    ):
        peers = {name: value for name, value in values.items() if name != "ours"}
        records.append(
            {
                "work": what,
                "ours": values["ours"],
                "peers": peers,
                "ratio": {name: values["ours"] / value for name, value in peers.items()},
            }
        )
    records.append(
        {
            "work": f"{work}: share of predictions equal to ours",
            "ours": 1.0,
            "peers": {name: float((found[name] == found["ours"]).mean()) for name in SIDES if name != "ours"},
            "ratio": {},
        }
    )
    for record in records:
        print(record["work"], "| ours", round(record["ours"], 3), "|", record["peers"])
    if len(sys.argv) > 1:
        with Path(sys.argv[1]).open("a", encoding="utf-8") as file:
            file.writelines(json.dumps(record) + "\n" for record in records)


if __name__ == "__main__":
    main()
