"""Typos of many records at once beside a loop over records, and DBLP-ACM matched here beside splink (extra: pip).

python -m benchmarks.records typos
python -m benchmarks.records dblp-acm --epochs 1
python -m benchmarks.records sets

The loop makes the same four kinds of typos of the same keyboard, one record after another, as the published code does.
Splink learns without labels too: Fellegi-Sunter by expectation maximisation, with blocking on equal parts of a title.
Both are given the two tables and no label; F1 is over all known pairs, by whether they end up in one set.
"""

import argparse
import random
import time
from dataclasses import replace

import numpy as np
import torch

from withstand.claims.protocol.measures import trained
from withstand.core.random import Draws, isolated
from withstand.core.roles import network_of
from withstand.data.pairs.named import ENTITY_SETS
from withstand.data.pairs.source import RecordSource
from withstand.data.pairs.texts import plain
from withstand.evaluation.structured.integration.integrate import integrate
from withstand.evaluation.structured.integration.judges import judged, tfidf
from withstand.evaluation.structured.integration.selfmade import f1_of, self_made
from withstand.models.tables.records import RecordMatcher
from withstand.recipes.contrastive.table_integration import SETUP, experiment
from withstand.views.records import _keyboard, typos

KEYS = {chr(code): "".join(map(chr, row)) for code, row in enumerate(_keyboard().tolist())}


def one_typo(text: str, draw: random.Random) -> str:
    """Misspell one value, as a loop over records does."""
    if not text:
        return text
    at, kind = draw.randrange(len(text)), draw.randrange(4)
    key = draw.choice(KEYS.get(text[at], "etaoinsr"))
    if kind == 1:
        return text[: at + 1] + key + text[at + 1 :]
    if kind == 2 and len(text) > 1:
        return text[:at] + text[at + 1 :]
    if kind == 3 and at + 1 < len(text):
        return text[:at] + text[at + 1] + text[at] + text[at + 2 :]
    return text[:at] + key + text[at + 1 :]


def time_typos(rounds: int = 3) -> None:
    source = RecordSource("dblp-acm")
    x = source[range(len(source))].x
    texts = [list(map(plain, source.texts(record))) for record in range(len(source))]
    loop, here = [], []
    for turn in range(rounds):
        draw, begun = random.Random(turn), time.perf_counter()
        for record in texts:
            for value in record:
                one_typo(one_typo(value, draw), draw)
        loop.append(time.perf_counter() - begun)
        begun = time.perf_counter()
        typos(x, 2, Draws(turn, torch.arange(len(x))))
        here.append(time.perf_counter() - begun)
    print(f"two typos in {x.shape[0]} records of {x.shape[1]} values: loop {min(loop):.3f} s, here {min(here):.3f} s, "
          f"{min(loop) / min(here):.1f} times")  # fmt: skip


def match_here(epochs: int) -> tuple[float, float]:
    begun = time.perf_counter()
    with isolated(0):
        trial = experiment(replace(SETUP, data="dblp-acm", epochs=epochs, batch=64), copies=2, negatives=20)
    matcher = network_of(trained(trial), "matcher")
    assert isinstance(matcher, RecordMatcher)
    source = RecordSource("dblp-acm")
    found = integrate(matcher, source)
    seconds = time.perf_counter() - begun
    number = np.empty(sum(map(len, source.tables)), dtype=np.int64)
    for place, members in enumerate(found.sets):
        number[list(members)] = place
    assert source.pairs is not None
    rows = number[source.places.numpy()]
    together = rows[source.pairs.left.numpy()] == rows[source.pairs.right.numpy()]
    return seconds, f1_of(source.pairs.match.numpy(), together)


def match_splink() -> tuple[float, float]:
    import pandas
    import splink.comparison_library as compare
    from splink import DuckDBAPI, Linker, SettingsCreator, block_on

    source = RecordSource("dblp-acm")
    begun = time.perf_counter()
    frames = []
    for number, table in enumerate(source.tables):
        frame = pandas.DataFrame(
            {name: [plain(text) or None for text in texts] for name, texts in table.columns.items()}
        )
        frame["unique_id"] = [f"{number}-{row}" for row in range(len(frame))]
        frame["first"] = frame["title"].str[:8]
        frame["last"] = frame["title"].str[-8:]
        frames.append(frame)
    settings = SettingsCreator(
        link_type="link_only",
        comparisons=[
            compare.JaroWinklerAtThresholds("title", [0.95, 0.88, 0.8]),
            compare.JaroWinklerAtThresholds("authors", [0.95, 0.85, 0.7]),
            compare.JaroWinklerAtThresholds("venue", [0.9]),
            compare.ExactMatch("year"),
        ],
        blocking_rules_to_generate_predictions=[block_on("first"), block_on("last"), block_on("authors")],
    )
    api = DuckDBAPI()
    try:
        linker = Linker(frames, settings, api)
    except (TypeError, AttributeError):  # from version 5 on tables are registered first
        linker = Linker([api.register(frame) for frame in frames], settings)
    linker.training.estimate_probability_two_random_records_match([block_on("title")], recall=0.8)
    linker.training.estimate_u_using_random_sampling(max_pairs=1e6)
    linker.training.estimate_parameters_using_expectation_maximisation(block_on("first"))
    linker.training.estimate_parameters_using_expectation_maximisation(block_on("authors"))
    found = linker.inference.predict(threshold_match_probability=0.5).as_pandas_dataframe()
    seconds = time.perf_counter() - begun
    pairs = {tuple(sorted(pair)) for pair in zip(found["unique_id_l"], found["unique_id_r"], strict=True)}
    assert source.pairs is not None
    first = len(source.tables[0])
    places = source.places.tolist()
    together = np.array(
        [
            (f"0-{places[left]}", f"1-{places[right] - first}") in pairs
            for left, right in zip(source.pairs.left.tolist(), source.pairs.right.tolist(), strict=True)
        ]
    )
    return seconds, f1_of(source.pairs.match.numpy(), together)


def nine_sets(names: list[str]) -> None:
    """F1 and average precision on each set's test pairs, thresholds from self-made pairs; large sets, one epoch."""
    print("| set | epochs | F1 | F1, TF-IDF | average precision | average precision, TF-IDF |")
    print("|---|---|---|---|---|---|")
    for name in names or ENTITY_SETS:
        small = name in ("beer", "fodors-zagats", "itunes-amazon")
        setup = replace(SETUP, data=name, epochs=4 if small else 1, batch=32 if small else 64)
        with isolated(0):
            trial = experiment(setup, copies=6 if small else 2)
        matcher = network_of(trained(trial), "matcher")
        assert isinstance(matcher, RecordMatcher)
        assert isinstance(trial.test, RecordSource)
        made = self_made(trial.test)
        ours, theirs = judged(matcher, trial.test, made=made), tfidf(trial.test, made)
        figures = (ours.f1, theirs.f1, ours.precision, theirs.precision)
        print(f"| {name} | {setup.epochs} | " + " | ".join(f"{figure:.3f}" for figure in figures) + " |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["typos", "dblp-acm", "sets"])
    parser.add_argument("names", nargs="*", help="of sets; all nine if not said")
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--without-splink", action="store_true")
    asked = parser.parse_args()
    if asked.what == "typos":
        time_typos()
        return
    if asked.what == "sets":
        nine_sets(asked.names)
        return
    seconds, f1 = match_here(asked.epochs)
    print(f"here, {asked.epochs} epoch(s) of training among it: {seconds:.1f} s, F1 {f1:.3f}")
    if not asked.without_splink:
        seconds, f1 = match_splink()
        print(f"splink: {seconds:.1f} s, F1 {f1:.3f}")


if __name__ == "__main__":
    main()
