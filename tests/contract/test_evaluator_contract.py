"""Every evaluator: one signature, and a finding whose figures say what they are and survive a file."""

import inspect
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from captures import UDP, Frame, ethernet, ip4, pcap, udp
from graphs import graph, graph_set
from guards import detector
from toys import ToyPictures, toy_method
from victims import digits
from walk import of_role
from withstand.attacks.language.suffix import SuffixSearch
from withstand.core.batch import Batch
from withstand.core.findings.finding import HIGH, LOW, SPREAD, Finding, Measure, Table
from withstand.core.roles import PRODUCTS, Evaluator, Indices, Source, network_of
from withstand.core.threat import Ball
from withstand.data.arrays.source import ArraySource
from withstand.data.captions.source import CaptionedClasses
from withstand.data.clips.tracks import SimulatedTracks
from withstand.data.clips.whole import Clips
from withstand.data.derived.origins import Origins
from withstand.data.derived.paired import PairedSource
from withstand.data.derived.poisoned import Poisoned
from withstand.data.derived.wrapped import Wrapped
from withstand.data.flows.container import FlowBatch
from withstand.data.flows.source import Flows
from withstand.data.graphs.container import Graphs
from withstand.data.pairs.source import RecordSource
from withstand.data.pictures.domains import DOMAIN
from withstand.data.tables.source import TableSource
from withstand.data.text.source import Preferences
from withstand.data.volumes.source import VolumeSource
from withstand.data.windows.source import WindowSource
from withstand.defenses.filters import BitDepth, by_bit_depth
from withstand.defenses.restoring import restoring
from withstand.evaluation.continual.classifier_gain import ClassifierGain
from withstand.evaluation.continual.drift import Drift
from withstand.evaluation.continual.unlearning import Unlearning
from withstand.evaluation.defenses.backdoor.poison_detection import PoisonDetection
from withstand.evaluation.defenses.backdoor.trigger_success import TriggerSuccess
from withstand.evaluation.defenses.detection.detection import Detection
from withstand.evaluation.defenses.detection.synthetic import SyntheticBench
from withstand.evaluation.defenses.purification import Purification
from withstand.evaluation.defenses.tracing.judge import OriginTracing
from withstand.evaluation.dense.keypoints.judge import KeypointJudge
from withstand.evaluation.dense.segmentation.judge import SegmentationJudge
from withstand.evaluation.dense.segmentation.probe import SegmentationProbe
from withstand.evaluation.dense.segmentation.scenes import Scenes
from withstand.evaluation.judges import judge
from withstand.evaluation.language.language_audit import LanguageAudit
from withstand.evaluation.language.refusals import Refusals
from withstand.evaluation.language.revisions import RevisedAnswers
from withstand.evaluation.multimodal.prompts import PromptTransfer
from withstand.evaluation.multimodal.retrieval import CaptionRetrieval, ZeroShot
from withstand.evaluation.probes.domains import DomainProbe
from withstand.evaluation.probes.few_shot import FewShot
from withstand.evaluation.probes.fine_tuning import FineTuning
from withstand.evaluation.probes.mlp import MLP
from withstand.evaluation.probes.named import KNN, Centroid, Gauges, Linear, Map, NaiveBayes
from withstand.evaluation.ranking import Ranking
from withstand.evaluation.representation.bits import Bits
from withstand.evaluation.representation.condensed import Condensed
from withstand.evaluation.representation.contrastive_geometry import ContrastiveGeometry
from withstand.evaluation.representation.device_agreement import DeviceAgreement
from withstand.evaluation.representation.matched import Matched
from withstand.evaluation.representation.pair_gallery import PairGallery
from withstand.evaluation.representation.projection_head import Layers
from withstand.evaluation.representation.sample_state import SampleState
from withstand.evaluation.representation.version_votes import VersionVotes
from withstand.evaluation.restoration.clips import ClipsRestored
from withstand.evaluation.restoration.raw_round_trip import RawRoundTrip
from withstand.evaluation.restoration.restored import Restored
from withstand.evaluation.restoration.super_resolution import SuperResolved
from withstand.evaluation.robustness.audit import RobustnessAudit
from withstand.evaluation.robustness.certificates.certificate import Certificate
from withstand.evaluation.robustness.certificates.smoothed import SmoothedCertificate
from withstand.evaluation.robustness.corruptions import CorruptionBench
from withstand.evaluation.robustness.encoders.fooling import Fooling
from withstand.evaluation.robustness.encoders.target_retrieval import TargetRetrieval
from withstand.evaluation.robustness.fairness import GroupGaps
from withstand.evaluation.robustness.vision_language.susceptibility import Susceptibility
from withstand.evaluation.structured.field_audit import FieldAudit
from withstand.evaluation.structured.flow_audit import FlowAudit, FlowDrift
from withstand.evaluation.structured.flow_facts import FlowFacts
from withstand.evaluation.structured.flow_fine_tuning import FineTuned
from withstand.evaluation.structured.flow_tokens import MaskedTokens
from withstand.evaluation.structured.graph_audit import GraphAudit
from withstand.evaluation.structured.graph_nodes import NodeProbe
from withstand.evaluation.structured.graph_sets import FoldedSVM
from withstand.evaluation.structured.integration.judges import MatchJudge, TypoAudit
from withstand.evaluation.structured.table_probe import ColumnImportance, TableHeads
from withstand.methods.attackers.adv_encoder import AdvEncoder
from withstand.methods.attackers.any_attack import AnyAttack
from withstand.methods.attackers.poisoned_training import PoisonedTraining
from withstand.methods.condensation.krr_st import KRRST
from withstand.methods.continual.self_distillation import SelfDistillation
from withstand.methods.contrastive.isogclr import ISogCLR
from withstand.methods.contrastive.lvm_med import GraphMatching
from withstand.methods.contrastive.transitive_invariance import TransitiveInvariance
from withstand.methods.dense.c_gac import CGAC
from withstand.methods.dense.local_contrast import LocalContrast
from withstand.methods.dense.slot_tta import SlotTTA
from withstand.methods.editing.laf import LAF
from withstand.methods.items.item_ssl import ItemSSL
from withstand.methods.language.srpo import SRPO
from withstand.methods.masked.hpm import HPM
from withstand.methods.masked.netfound import NetFound
from withstand.methods.multimodal.captioner import Captioner
from withstand.methods.multimodal.clip_rocket import CLIPRocket
from withstand.methods.multimodal.gopro import GOPro
from withstand.methods.pretext.sla import SLA
from withstand.methods.restoration.lq_vae import LQVAE
from withstand.methods.restoration.raw_isp import RawISP
from withstand.methods.restoration.srgan import SRGAN
from withstand.methods.restoration.tecogan import TecoGAN
from withstand.methods.robust.attack_tracing import AttackTracing
from withstand.methods.robust.rss import RSS
from withstand.models.dense.unet import Segmenter, UNet
from withstand.models.graphs.encoder import GCN
from withstand.models.tables.records import RecordMatcher
from withstand.models.tokens.causal import CausalLM
from withstand.models.tokens.flow_encoder import FlowEncoder
from withstand.models.windows.tpn import TPN, AnchorEncoder
from withstand.verification.smoothing import Smoothing
from withstand.views.presets import simclr_small
from withstand.views.triggers import FrequencyTrigger

UNITS = {
    "share", "count", "seconds", "radius", "k/255", "nats", "cosine", "cosine distance", "squared distance",
    "dB", "directions", "degrees", "distance", "ratio", "correlation", "the target's", "the method's own",
    "the rule's own", "layout", "pixels",
}  # fmt: skip
"""What figures and columns of our own are measured in."""

BALL = Ball("linf", 0.1)


def rows(number: bool = False) -> TableSource:
    draws = np.random.default_rng(0)
    key, other = draws.normal(size=120), draws.normal(size=120)
    answer = 3 * key if number else np.where(key > 0, "yes", "no")
    return TableSource({"other": other, "key": key, "answer": answer}, part="train", target="answer")


def pixels() -> Source:
    _, x, y = digits()
    return ArraySource(x[:24], y[:24])


def by_place(x: Tensor) -> Tensor:
    """Embed a node by its place, or a graph by its number in the batch."""
    targets = Graphs.of(x).targets
    return torch.eye(3)[(torch.arange(len(x)) if targets is None else targets) % 3]


def nothing(x: Tensor) -> Tensor:
    return torch.zeros(len(x), 3)


def doubled(x: Tensor) -> Tensor:
    return 2 * x


def untrained() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 8))


def _length(prompt: str, answer: str) -> float:
    return float(len(answer))


EXAMPLES: dict[str, Callable[[], tuple[Evaluator, Any, Source, Any]]] = {
    **{
        one.__class__.__name__: lambda one=one: (one, nn.Flatten(), pixels(), untrained())  # type: ignore[misc]
        for one in (
            KNN(), Linear(), MLP(epochs=5), NaiveBayes(), Centroid(), Gauges(), Map(layout="pca"),
            FewShot((KNN(), Centroid()), labels=(1, 2), draws=2),
        )
    },
    "ContrastiveGeometry": lambda: (
        ContrastiveGeometry(view=simclr_small(16)), toy_method(), ToyPictures(24), toy_method()
    ),
    "Layers": lambda: (Layers(k=3), toy_method(), ToyPictures(48), toy_method()),
    "Restored": lambda: (Restored(shown=2, samples=8), HPM.example(), ToyPictures(24), HPM.example()),
    "SuperResolved": lambda: (SuperResolved(samples=4, shown=2), SRGAN.example(), ToyPictures(6), SRGAN.example()),
    "ClipsRestored": lambda: (ClipsRestored(samples=2, still=6, shown=2), TecoGAN.example(), six_frames(),
                              TecoGAN.example()),
    "TargetRetrieval": lambda: (TargetRetrieval(12, 6, 2, (1.0,), 2), AnyAttack.example(), ToyPictures(24, size=8),
                                None),
    "CaptionRetrieval": lambda: (
        CaptionRetrieval(), CLIPRocket.example(), CaptionedClasses.example(), CLIPRocket.example()
    ),
    "ZeroShot": lambda: (ZeroShot(), CLIPRocket.example(), CaptionedClasses.example(), CLIPRocket.example()),
    "PromptTransfer": lambda: (
        PromptTransfer(corruptions=("fog",)), GOPro.example(), CaptionedClasses.example(), None
    ),
    "RevisedAnswers": lambda: (RevisedAnswers(_length, revisions=2, samples=4, most=4), SRPO.example(),
                               Preferences.example(), SRPO.example()),
    "Bits": lambda: (Bits(samples=8), LQVAE.example().product("purifier"), ToyPictures(24, size=8),
                     LQVAE.example().product("purifier")),
    "RawRoundTrip": lambda: (RawRoundTrip(samples=8, shown=2), RawISP.example().product("purifier"),
                             ToyPictures(24, size=9), RawISP.example().product("purifier")),
    "Condensed": lambda: (Condensed(steps=2, networks=2, shown=2), KRRST.example(), ToyPictures(24, size=8), None),
    "Scenes": lambda: (
        Scenes(restoring, steps=2, samples=3, shown=2), SlotTTA.example(),
        PairedSource(ToyPictures(4, size=8), {"mask": torch.arange(64).view(1, 8, 8).repeat(4, 1, 1) // 20}), None),
    "KeypointJudge": lambda: (KeypointJudge(shown=2), CGAC.example(), located(), CGAC.example()),
    "Fooling": lambda: (Fooling((Linear(C=1.0),), shown=2), AdvEncoder.example(), ToyPictures(24, size=8), None),
    "TriggerSuccess": lambda: (TriggerSuccess(FrequencyTrigger(window=8), shown=2), PoisonedTraining.example(),
                               poisoned(), None),
    "PoisonDetection": lambda: (PoisonDetection(blends=2), PoisonedTraining.example().encoder, poisoned(), None),
    "Matched": lambda: (
        Matched(simclr_small(8), graphs=3), GraphMatching.example(), ToyPictures(24, size=8), GraphMatching.example()
    ),
    "SegmentationJudge": lambda: (SegmentationJudge(2), Segmenter(UNet.example(), 2), VolumeSource.example(),
                                  Segmenter(UNet.example(), 2)),
    "SegmentationProbe": lambda: (
        SegmentationProbe(volumes=(1,), choices=1, steps=2, batch=4),
        LocalContrast.example(), VolumeSource.example(), LocalContrast.example(),
    ),
    "OriginTracing": lambda: (OriginTracing(6, 6, 2, 1, (2,), (), shown=2), AttackTracing.example().product("copies"),
                              ToyPictures(24, size=8), None),
    "Unlearning": lambda: (Unlearning.example(), LAF.example(), ToyPictures(24, size=8), None),
    "ClassifierGain": lambda: (ClassifierGain(), RSS.example(), ToyPictures(24, size=8), None),
    "Drift": lambda: (Drift(), SelfDistillation.example(), ToyPictures(8), None),
    "FineTuning": lambda: (FineTuning(2, draws=2, steps=2, batch=4), toy_method().encoder, ToyPictures(24),
                           toy_method().encoder),
    "VersionVotes": lambda: (VersionVotes(shown=2), versions(), ToyPictures(24), versions()),
    "SampleState": lambda: (SampleState(ends=2), toy_method(ISogCLR, samples=24), ToyPictures(24), None),
    "RobustnessAudit": lambda: (
        RobustnessAudit(BALL, linf=(0.05, 0.1), l2=(0.5,), samples=16, steps=2, ensemble="none"),
        digits()[0], pixels(), None),
    "Susceptibility": lambda: (
        Susceptibility("a photo of a grey bee", ("what",), ("the picture",), ("8/255",), "8/255", samples=4, steps=2,
                       guards={"bit depth": by_bit_depth}),
        Captioner.example().product("captioner"), CaptionedClasses.example(), None),
    "Certificate": lambda: (Certificate(Ball("linf", 0.02), "ibp", samples=8, radii=2, halvings=2),
                            digits()[0], pixels(), None),
    "SmoothedCertificate": lambda: (SmoothedCertificate(0.1, Smoothing(0.1, samples=50, selection=10), samples=4),
                                    digits()[0], pixels(), None),
    "CorruptionBench": lambda: (CorruptionBench(kinds=("fog", "contrast"), severities=(1, 3), samples=16),
                                digits()[0], pixels(), digits()[0]),
    "GroupGaps": lambda: (GroupGaps(str(Path(__file__).with_name("groups.csv")), BALL, steps=2), digits()[0], pixels(),
                          None),
    "Detection": lambda: (Detection(BALL, attacks=("fgsm",), samples=12, calibration=12, known=4, steps=2),
                          guard(), pixels(), None),
    "Purification": lambda: (Purification(BALL, samples=16, steps=2, queries=3), BitDepth(digits()[0], 2), pixels(),
                             None),
    "PairGallery": lambda: (PairGallery(shown=2), TransitiveInvariance.example(), SimulatedTracks.example(), None),
    "SyntheticBench": lambda: (SyntheticBench(), halves(), Origins.example(), halves()),
    "GraphAudit": lambda: (GraphAudit(eps=(0.1, 0.5), steps=2, flipped=2, additions=2, samples=12),
                           nodes(), graph(60).part("test"), None),
    "NodeProbe": lambda: (NodeProbe(0.1, 0.0, 5), by_place, graph(60), nothing),
    "FoldedSVM": lambda: (FoldedSVM(folds=2, repeats=2, inner=2), by_place, graph_set(24), nothing),
    "TableHeads": lambda: (TableHeads(("linear", "boosting")), doubled, rows(), doubled),
    "ColumnImportance": lambda: (ColumnImportance(), doubled, rows(), None),
    "MatchJudge": lambda: (MatchJudge(), RecordMatcher.example(), RecordSource.example(), RecordMatcher.example()),
    "TypoAudit": lambda: (TypoAudit((1, 2)), RecordMatcher.example(), RecordSource.example(), None),
    "DeviceAgreement": lambda: (DeviceAgreement(), AnchorEncoder(TPN(3, (8, 8), (4, 3), 0.0)), WindowSource.example(),
                                AnchorEncoder(TPN(3, (8, 8), (4, 3), 0.0))),
    "DomainProbe": lambda: (DomainProbe(), nn.Flatten(), Domains(), nn.Flatten()),
    "FieldAudit": lambda: (FieldAudit(10, 2), *items(), None),
    "Ranking": lambda: (Ranking(2), *items(), ItemSSL.example()),
    "FlowAudit": lambda: (FlowAudit(4, 2, {"loss": (0.5,)}), by_bytes, two_kinds(), None),
    "FlowDrift": lambda: (FlowDrift(4, 2, {"loss": (0.5,)}), FlowEncoder.example(), two_kinds(), None),
    "FlowFacts": lambda: (FlowFacts(4), NetFound.example(), two_kinds(), None),
    "FineTuned": lambda: (FineTuned(2, draws=2, steps=2), FlowEncoder.example(), two_kinds(), FlowEncoder.example()),
    "MaskedTokens": lambda: (MaskedTokens(), NetFound.example(), two_kinds(), None),
    "Refusals": lambda: (Refusals(Preferences.example(), shown=2), CausalLM.example(), Preferences.example(),
                         CausalLM.example()),
    "LanguageAudit": lambda: (LanguageAudit((0.1, 0.2), 1, 4, 1, SuffixSearch(2, 1, 4), 2), CausalLM.example(),
                              Preferences.example(), CausalLM.example()),
}  # fmt: skip
"""By class: an evaluator, a subject, a source, and a control where it has a use for one."""


def six_frames() -> Source:
    x = torch.randint(0, 256, (2, 6, 3, 56, 60), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return Clips(x)


def halves() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(192, 2))


class Domains(Wrapped):
    """Small pictures of three domains."""

    def __init__(self) -> None:
        self._wrap(pixels())

    def __getitem__(self, indices: Indices) -> Batch:
        return self.source[indices]

    @property
    def attributes(self) -> Mapping[str, Tensor]:
        return {DOMAIN: torch.arange(len(self)) % 3}

    @property
    def group_names(self) -> Mapping[str, tuple[str, ...]]:
        return {DOMAIN: ("a", "b", "c")}

    def fingerprint(self) -> str:
        return "domains"


def items() -> tuple[Any, Source]:
    method = ItemSSL.example()
    return method, method.catalogue


@cache
def two_kinds() -> Flows:
    """Flows of few bytes and of many, in a capture of each kind."""
    with TemporaryDirectory() as folder:
        for kind, size in (("few", 20), ("many", 600)):
            (Path(folder) / kind).mkdir()
            frames = [
                Frame(
                    ethernet(ip4("10.0.0.1", "9.9.9.9", UDP, udp(1000 + flow, 53, b"a" * size))),
                    1_700_000_000_000_000_000 + flow * 1_000_000_000,
                )
                for flow in range(6)
            ]
            (Path(folder) / kind / "one.pcap").write_bytes(pcap(frames, nanoseconds=True))
        return Flows(folder)


def by_bytes(x: Tensor) -> Tensor:
    size = FlowBatch.of(x).metadata[:, 0, 1]
    return torch.stack([300 - size, size - 300], 1)


def located() -> Source:
    points, masks = torch.arange(32.0).view(8, 2, 2) % 8, torch.arange(64).view(1, 8, 8).repeat(8, 1, 1) // 40
    return PairedSource(ToyPictures(8, size=8), {"keypoints": points, "mask": masks})


def poisoned() -> Source:
    return Poisoned(ToyPictures(24, size=8), FrequencyTrigger(window=8), rate=0.1, target=None)


def versions() -> nn.Module:
    return network_of(SLA.example(), "classifier").eval()


def guard() -> Any:
    victim = digits()[0]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        encoder = nn.Sequential(nn.Flatten(), nn.Linear(64, 12))
    defense = detector(
        encoder=encoder, projector=nn.Linear(12, 6), labeller=nn.Linear(12, 10), victim=victim, neighbours=5, rank=2
    )
    return defense.fit(Detection(BALL, samples=12, calibration=12).clean(pixels()), fpr=0.1)


def nodes() -> nn.Module:
    torch.manual_seed(0)
    return GCN(6, 3, 2).eval()


@cache
def found(name: str) -> Finding:
    evaluator, subject, source, control = EXAMPLES[name]()
    if isinstance(subject, nn.Module):
        subject.eval()
    return evaluator.evaluate(subject, source, control=control)


def measures(finding: Finding) -> list[Measure]:
    own = list(finding.figures.values())
    return own + [measure.control for measure in own if measure.control is not None]


def test_every_evaluator_has_an_example() -> None:
    assert {part.__name__ for part in of_role(Evaluator)} == set(EXAMPLES)


@pytest.mark.parametrize("part", of_role(Evaluator), ids=lambda part: part.__name__)
def test_the_signature_is_one(part: type[Evaluator]) -> None:
    own = list(inspect.signature(part.evaluate).parameters.values())
    wanted = list(inspect.signature(Evaluator.evaluate).parameters.values())
    assert [(one.name, one.kind, one.default) for one in own[: len(wanted)]] == [
        (one.name, one.kind, one.default) for one in wanted
    ]
    assert all(one.kind is one.KEYWORD_ONLY and one.default is not one.empty for one in own[len(wanted) :])
    assert part.product in (*PRODUCTS, "method", "defense")


@pytest.mark.parametrize("name", EXAMPLES)
def test_figures_say_what_they_are(name: str) -> None:
    finding = found(name)
    assert finding.figures or name == "Map"
    for measure in measures(finding):
        assert measure.unit in UNITS
        assert measure.unit != "share" or -1 <= measure.value <= 1
    for figure, measure in finding.figures.items():
        lower = ("nearer", "fooling", "retrieved", "rewritten", "gap", "lost", "abstentions", "success", "emission",
                 "wrongly", "rejected", "harmless")  # fmt: skip
        way = "lower" if any(word in figure for word in lower) else "higher"
        assert measure.better in (way, None) or measure.unit != "share" or name in ("Certificate", "Unlearning")


@pytest.mark.parametrize("name", EXAMPLES)
def test_columns_say_what_they_hold(name: str) -> None:
    for key, table in found(name).tables.items():
        for column in measured(table):
            assert table.units.get(column) in UNITS, f"{column!r} in {key!r}"


def measured(table: Table) -> list[str]:
    """Return the columns of numbers that are no counts, without spreads and intervals."""
    return [
        column
        for column in table.columns
        if any(isinstance(cell, float) for cell in table.column(column)) and not column.endswith((SPREAD, LOW, HIGH))
    ]


@pytest.mark.parametrize("name", EXAMPLES)
def test_findings_survive_a_file(name: str, tmp_path: Path) -> None:
    finding = found(name)
    again = Finding.load(finding.save(tmp_path))
    assert (again.figures, again.headline, again.checks) == (finding.figures, finding.headline, finding.checks)
    assert again.record() == finding.record()


@pytest.mark.parametrize("name", [name for name, make in EXAMPLES.items() if make()[3] is not None])
def test_controls_stand_beside_what_they_are_of(name: str) -> None:
    headline = found(name).headline
    compared = found(name).figures.values() if headline is None else [found(name).figures[headline]]
    if name not in ("Map", "Layers"):  # these two show the control in tables alone
        assert all(measure.control is not None for measure in compared)


def test_judges_that_lack_what_they_need_are_left_out() -> None:
    method, source = toy_method().eval(), ToyPictures(24)
    bare = ArraySource(source[range(24)].x)
    judges = (Map(layout="pca"), KNN(), SampleState(), Gauges())
    assert [finding.name for finding in judge(judges, method, source, control=toy_method())] == ["map", "knn", "gauges"]
    assert [finding.name for finding in judge(judges, method, bare)] == ["map", "gauges"]
    kept = toy_method(ISogCLR, samples=24).eval()
    assert [finding.name for finding in judge(judges, kept, source)] == ["map", "knn", "samples", "gauges"]
