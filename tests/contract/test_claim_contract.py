"""What every claim is held to: equal budgets, figures for each seed, kept seeds that are JSON, a finding."""

import math
import sys
from dataclasses import replace
from importlib import import_module
from itertools import chain, pairwise
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from graphs import graph
from withstand.attacks.language.suffix import SuffixSearch
from withstand.claims.condensation import krr_st
from withstand.claims.continual import self_distillation
from withstand.claims.contrastive import mcl, transitive_invariance
from withstand.claims.defenses import attack_tracing
from withstand.claims.dense import global_local as about_volumes
from withstand.claims.dense import slot_tta
from withstand.claims.language import continuous_at, srpo
from withstand.claims.multimodal import vlm_susceptibility
from withstand.claims.protocol import measures, robust_measures
from withstand.claims.protocol.claim import Budget
from withstand.claims.protocol.compare import arms_of, compare
from withstand.claims.protocol.reproduction import claim_of, file_of, has_claim, scales_of
from withstand.claims.restoration import lq_vae, raw_isp
from withstand.claims.restoration import tecogan as clip_claim
from withstand.core.findings.finding import Finding
from withstand.core.roles import Method, Source
from withstand.data.arrays.source import ArraySource
from withstand.data.clips.stretches import Stretches
from withstand.data.clips.whole import Clips
from withstand.data.derived.subset import holdout
from withstand.data.load import splits as real
from withstand.data.pairs.source import RecordSource
from withstand.data.pictures.tiles import Tiles
from withstand.data.tables.source import TableSource
from withstand.data.volumes.source import VolumeSource
from withstand.engine.experiment import Experiment
from withstand.evaluation.dense.segmentation.probe import SegmentationProbe
from withstand.evaluation.structured.graph_nodes import NodeProbe
from withstand.recipes.catalogue import Entry, entries
from withstand.recipes.contrastive import table_integration
from withstand.recipes.dense import global_local
from withstand.recipes.masked import graphmae, t_jepa
from withstand.recipes.pretext import selftask
from withstand.recipes.restoration import tecogan as about_clips
from withstand.recipes.setups.vision import super_resolution


def scales_of_item(item: Entry) -> tuple[str, ...]:
    module = import_module(f"withstand.claims.{item.path.parent.name}.{item.path.stem}")
    return scales_of(module.claim)


CAPTURES = ("netfound",)
"""Claims on packet captures, which take minutes to read and are not carried by the package."""
UNLIKE = ("rss",)
"""Claims whose baseline cannot read the unlabelled samples that the system learns from: what the paper is about."""
TRAINED = [
    item for item in entries() if has_claim(item) and hasattr(item.module(), "experiment") and item.slug not in CAPTURES
]
SHAPES = {
    "cifar10": (3, 32),
    "fashion-mnist": (1, 28),
    "fashion-mnist-small": (1, 28),
    "digits": (1, 8),
    "hippocampus-mri": (1, 16),
    "mnist": (1, 28),
}


def pictures(count: int, channels: int, side: int) -> ArraySource:
    x = np.random.default_rng(side).integers(0, 256, (count, channels, side, side), dtype=np.uint8)
    return ArraySource(x, np.arange(count) % 10, layout="NCHW", classes=tuple("abcdefghij"))


def few_rows(setup: object) -> tuple[TableSource, TableSource]:
    draws = np.random.default_rng(0)
    columns = {name: draws.normal(size=120) for name in ("age", "height", "weight")}
    columns |= {"kind": np.array(["no", "yes"])[np.arange(120) % 2], "worth": draws.normal(size=120)}
    target = "kind" if setup.data == "adult" else "worth"  # type: ignore[attr-defined]
    train = TableSource(columns, target=target, part="train")
    return train, train.other("test")


def few_volumes(*_: object, **__: object) -> tuple[Source, Source]:
    draws = np.random.default_rng(0)
    scans = [draws.random((6, 32, 32)).astype(np.float32) for _ in range(9)]
    return holdout(VolumeSource(scans, [(scan > 0.8).astype(np.int16) for scan in scans], axis="sagittal"))


def few_clips(*_: object) -> tuple[Source, Source]:
    clips = Clips(np.random.default_rng(0).integers(0, 256, (10, 6, 3, 56, 56), dtype=np.uint8))
    train, test = holdout(clips)
    return Stretches(train, 5, 40), test


def few_records(setup: object) -> tuple[RecordSource, RecordSource]:
    names = [f"{color} {thing}" for color in ("blue", "red", "old") for thing in ("lamp", "mill", "inn", "door")]
    train = RecordSource({"name": names, "town": ["rome", "oslo", "bari"] * 4}, part="train")
    return train, train.other("test")


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[Experiment]:
    """Put few samples in place of the claims' sets, and no training in place of it; give what would be trained."""
    seen: list[Experiment] = []

    def splits(data: object, **settings: object) -> tuple[Source, Source | None]:
        if not isinstance(data, str):
            return real(data, **settings)  # type: ignore[arg-type]
        return pictures(520 if data == "fashion-mnist-small" else 260, *SHAPES[data]), pictures(40, *SHAPES[data])

    def train(experiment: Experiment, folder: Path, **_: object) -> SimpleNamespace:
        experiment.check()
        seen.append(experiment)
        return SimpleNamespace(checkpoints=folder)

    def restore(folder: Path, method: Method) -> None:
        for name, buffer in method.named_buffers():
            if name == "group_labels":  # what an earlier stage would have learnt
                buffer.copy_(torch.arange(len(buffer)) % 64)

    for module in [one for name, one in sys.modules.items() if name.startswith("withstand.")]:
        if getattr(module, "splits", None) is real:
            monkeypatch.setattr(module, "splits", splits)
    monkeypatch.setattr(measures, "train", train)
    monkeypatch.setattr(measures.checkpoint, "load", restore)
    monkeypatch.setattr(robust_measures, "SAMPLES", 4)
    monkeypatch.setattr(mcl, "PICTURES", 260)
    monkeypatch.setattr(srpo, "MODEL", "tiny:llama")
    monkeypatch.setattr(srpo, "PROMPTS", 2)
    monkeypatch.setattr(srpo, "MOST", 4)
    monkeypatch.setattr(transitive_invariance, "TRAIN", 100)
    monkeypatch.setattr(transitive_invariance, "TEST", 20)
    monkeypatch.setattr(krr_st, "JUDGE", replace(krr_st.JUDGE, steps=2, samples=20))
    monkeypatch.setattr(self_distillation, "STEPS", 2)
    for name, value in {"STEPS": 2, "TRAINED": 32, "CHOOSING": 2, "JUDGED": 2}.items():
        monkeypatch.setattr(slot_tta, name, value)
    monkeypatch.setattr(attack_tracing, "SAMPLES", 4)
    for module in (lq_vae, raw_isp):
        monkeypatch.setattr(module, "JUDGE", replace(module.JUDGE, samples=80, steps=2, queries=2))
    monkeypatch.setattr(graphmae, "judges", lambda *_: (NodeProbe(epochs=2),))
    monkeypatch.setattr(t_jepa, "table_parts", few_rows)
    monkeypatch.setattr(global_local, "split_volumes", few_volumes)
    monkeypatch.setattr(about_volumes, "PROBE", SegmentationProbe(volumes=(2,), choices=1, steps=1, batch=2))
    monkeypatch.setattr(super_resolution, "pictures", lambda *_: (Tiles(pictures(40, 3, 32), 32), pictures(4, 3, 32)))
    monkeypatch.setattr(about_clips, "clip_parts", few_clips)
    monkeypatch.setattr(clip_claim, "JUDGE", replace(clip_claim.JUDGE, frames=6, still=6))
    monkeypatch.setattr(table_integration, "record_parts", few_records)
    monkeypatch.setattr(vlm_susceptibility, "TARGET", "a photo of a grey b")
    monkeypatch.setattr(vlm_susceptibility, "STEPS", 2)
    monkeypatch.setattr(continuous_at, "MODEL", "tiny:llama")
    monkeypatch.setattr(
        continuous_at,
        "JUDGE",
        replace(continuous_at.JUDGE, steps=1, samples=2, searched=1, suffix=SuffixSearch(2, 1, 4)),
    )
    monkeypatch.setattr(vlm_susceptibility, "PICTURES", 4)
    for module in (graphmae, selftask):
        monkeypatch.setattr(module, "open_graphs", lambda *_, **__: graph(90))
    return seen


def test_a_claim_lies_where_its_recipe_lies() -> None:
    room = Path(measures.__file__).parents[1]
    assert {file_of(item) for item in entries() if has_claim(item)} == {
        path for path in room.glob("*/*.py") if path.stem != "__init__" and path.parent.name != "protocol"
    }


def epochs_of(trial: Experiment) -> int:
    """Return a trial's epochs with those of the stages before it."""
    return trial.plan.epochs + (epochs_of(trial.first) if isinstance(trial.first, Experiment) else 0)


@pytest.mark.thorough
@pytest.mark.parametrize("item", TRAINED, ids=lambda item: item.slug)
def test_a_claim_compares_equal_budgets_and_gives_a_finding(
    item: Entry, trained: list[Experiment], tmp_path: Path
) -> None:
    claim, starts = claim_of(item), list[int]()
    found = compare(claim, Budget(least=2, most=2), begin=lambda *_: starts.append(len(trained)))
    finding = found.finding(item.slug)
    finding.save(tmp_path)
    assert str(Finding.load(tmp_path / f"{finding.name}.json").tables) == str(finding.tables)  # nan is nan
    assert finding.tables["seeds"].columns == ("seed", *claim.names)
    assert all(map(math.isfinite, chain(*found.pairs)))
    assert claim.unit != "share" or all(-1 <= figure <= 1 for figure in chain(*found.pairs))
    arms = [trained[start:end] for start, end in pairwise([*starts, len(trained)])]
    assert len({one.plan.seed for one in trained if one.name == item.slug}) > 1, "each seed trains anew"
    compared = arms[: min(2, len(claim.arms))]
    sizes = {(len(one.source), one.plan.batch) for arm in compared for one in arm}
    assert len(sizes) == 1 or item.slug in UNLIKE
    spent = {max(one.plan.epochs for one in arm) for arm in compared}, {max(map(epochs_of, arm)) for arm in compared}
    assert 1 in map(len, spent), "arms train equally long, alone or with the stages before them"


@pytest.mark.thorough
@pytest.mark.parametrize(
    "item", [item for item in TRAINED if "gpu" in scales_of_item(item)], ids=lambda item: item.slug
)
def test_the_larger_scale_changes_network_data_and_length_of_both_sides(item: Entry, trained: list[Experiment]) -> None:
    small, gpu = (arms_of(claim_of(item, scale), 0) for scale in ("small", "gpu"))
    assert small.keys() == gpu.keys()
    sizes = [sum(p.numel() for p in one.method.encoder.parameters()) for one in gpu.values()]
    for (name, one), size in zip(small.items(), sizes, strict=True):
        assert size > 20 * sum(p.numel() for p in one.method.encoder.parameters()), name
        assert gpu[name].plan.epochs > 5 * one.plan.epochs
        assert gpu[name].plan.batch == one.plan.batch
    assert len(set(sizes)) == 1
    assert len({one.plan.epochs for one in gpu.values()}) == 1
