"""Embedding everything of a table, a graph and a folder of photos, beside a plain torch loop over the same encoder.

Run: WITHSTAND_DATA=... python -m benchmarks.embedding [OUT.jsonl] [--rounds 3]

All rows of Adult by the default T-JEPA encoder; a graph of 200,000 nodes and a million edges by the default GraphMAE
encoder; 10,000 JPEGs of 96 x 96 pixels by a ResNet-10 of width 16 at 32 x 32, decoded anew by either side. The plain
loops do what a user would write: tensors that are cut into batches of 512, one pass over the whole graph, files that
Pillow opens and shrinks. Ours also keeps each sample's place and label, and looks for features that are not finite.
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from benchmarks._rates import best, keep
from withstand.data.graphs.source import GraphSource
from withstand.data.pictures.folder import ImageFolder
from withstand.data.tables.source import TableSource
from withstand.evaluation.features import embed
from withstand.models.pictures.convnets.resnet import ResNet
from withstand.recipes.masked import graphmae, t_jepa
from withstand.recipes.setups.structured.tables import TableSetup

BATCH, SIDE = 512, 32
Sides = tuple[str, int, Callable[[], object], Callable[[], object]]


def table(_: Path) -> Sides:
    source = TableSource("adult", part="all")
    method = t_jepa.experiment(TableSetup(data="adult")).method.eval()
    x = source[range(len(source))].x

    def plain() -> Tensor:
        with torch.no_grad():
            return torch.cat([method.embed(part) for part in x.split(BATCH)])

    return "rows of Adult, embedded by T-JEPA", len(source), lambda: embed(method, source), plain


def graph(_: Path) -> Sides:
    draws, nodes = np.random.default_rng(0), 200_000
    source = GraphSource(
        draws.integers(0, nodes, (2, 1_000_000)), draws.normal(size=(nodes, 64)).astype(np.float32), directed=False
    )
    method = graphmae.experiment(data=source, epochs=1).method.eval()
    x = source[range(nodes)].x

    def plain() -> Tensor:
        with torch.no_grad():
            return method.embed(x)

    return "nodes of a graph of 200,000, embedded by GraphMAE", nodes, lambda: embed(method, source), plain


def photos(folder: Path) -> Sides:
    draws, count = np.random.default_rng(0), 10_000
    files = [folder / f"{number:05d}.jpg" for number in range(count)]
    some = draws.integers(0, 256, (100, 12, 12, 3), dtype=np.uint8)
    for number, file in enumerate(files):
        Image.fromarray(some[number % len(some)]).resize((96, 96), Image.Resampling.BICUBIC).save(file)
    encoder = ResNet(16, 10).eval()

    def ours() -> object:
        with TemporaryDirectory() as cache:
            return embed(encoder, ImageFolder(folder, SIDE, cache=cache))

    def plain() -> Tensor:
        features = []
        with torch.no_grad():
            for first in range(0, count, BATCH):
                opened = [Image.open(file).convert("RGB").resize((SIDE, SIDE)) for file in files[first : first + BATCH]]
                x = torch.from_numpy(np.stack([np.asarray(one) for one in opened])).permute(0, 3, 1, 2).float() / 255
                features.append(encoder(x))
        return torch.cat(features)

    return "photos of 96 x 96, decoded and embedded by a ResNet-10", count, ours, plain


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path, nargs="?")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    for make in (table, graph, photos):
        with TemporaryDirectory() as folder:
            work, count, ours, plain = make(Path(folder))
            seconds, other = best(ours, options.rounds), best(plain, options.rounds)
        keep(work, count, seconds, "a plain torch loop", other, options.out)


if __name__ == "__main__":
    main()
