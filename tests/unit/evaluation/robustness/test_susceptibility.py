"""Susceptibility: rates that can be counted by hand, guards, pictures as files hold them, and what is refused."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from vision_language import vision
from withstand.core.errors import ConfigError, DataError
from withstand.core.findings.finding import Finding, number
from withstand.core.part import build, describe
from withstand.core.roles import Outcome, Source
from withstand.data.arrays.source import ArraySource
from withstand.data.captions.source import CaptionedClasses
from withstand.defenses.filters import BitDepth, by_bit_depth, by_jpeg
from withstand.evaluation.robustness.vision_language.susceptibility import Susceptibility, holds, rarest
from withstand.evaluation.robustness.vision_language.susceptibility_tables import EMISSION
from withstand.models.tokens.picture_to_text import PictureToText, Scored

YES = "a red boat"


class Reader(PictureToText):
    """Says "a red boat" where the mean of a picture, weighted by signs, is above a threshold, "a cat" elsewhere.

    Signs sum to 0, so that no plain picture crosses it, nor does noise; steps by signs do at once.
    """

    notes = ("it reads signs",)

    def __init__(self, threshold: float = 0.04) -> None:
        super().__init__()
        signs = torch.ones(3, 8, 8)
        signs[:, ::2] = -1
        self.signs, self.threshold = nn.Parameter(signs), threshold
        self.training_seen = False

    def read(self, images: Tensor) -> Tensor:
        assert not self.training
        return (images * self.signs.to(images)).mean((1, 2, 3)) - self.threshold

    def score(self, seen: Tensor, prompts: Sequence[str], targets: Sequence[str], rows: Tensor | None = None) -> Scored:
        seen = seen if rows is None else seen[rows]
        wanted = torch.tensor([text == YES for text in targets])
        logit = 50 * torch.where(wanted, seen, -seen)
        return Scored(nn.functional.softplus(-logit), logit > 0, torch.full_like(wanted, 4, dtype=torch.int64))

    def write(self, seen: Tensor, prompts: Sequence[str]) -> list[str]:
        return [f"It is {YES.title()}!" if value > 0 else "a cat" for value in seen.tolist()]

    def require(self, text: str, what: str) -> None:
        for word in text.split():
            if word not in ("a", "red", "boat", "cat", "what", "this"):
                raise ConfigError(f"{what} {text!r} has the word {word!r}")


def flat(count: int = 12) -> Source:
    """Pictures of one color each."""
    shades = torch.randint(60, 190, (count, 3, 1, 1), generator=torch.Generator().manual_seed(0))
    pixels = shades.expand(-1, -1, 8, 8).contiguous().to(torch.uint8)
    return ArraySource(pixels, torch.arange(count) % 2, classes=("cat", "dog"))


JUDGE = Susceptibility(
    YES, ("what",), ("this", "a cat"), ("4/255", "16/255"), guards={"bits": by_bit_depth}, samples=8, steps=12, shown=2
)


def found(judge: Susceptibility = JUDGE, network: PictureToText | None = None) -> Finding:
    return judge.evaluate(Reader() if network is None else network, flat())


def cells(finding: Finding, table: str, column: str) -> list[float]:
    return [number(cell) for cell in finding.tables[table].column(column)]


def test_rates_are_those_that_the_radius_allows() -> None:
    finding = found()
    assert cells(finding, EMISSION, "eps") == [0, 4 / 255, 16 / 255]
    # The weighted mean moves by eps at most: 4/255 is below the threshold of .04, 16/255 above.
    assert cells(finding, EMISSION, "no guard") == [0, 0, 1]
    assert cells(finding, EMISSION, "noise") == [0, 0, 0]
    head = finding.figures["emission, linf 16/255"]
    assert (head.value, head.of, head.better) == (1.0, 8, "lower")
    assert head.interval == pytest.approx((0.676, 1.0), abs=1e-3)
    assert finding.headline == "emission, linf 16/255"
    assert finding.figures["emission, unconstrained"].value == 1
    assert cells(finding, "target's likelihood", "no guard")[-1] < cells(finding, "target's likelihood", "no guard")[0]
    rows = {row[0]: row for row in finding.tables["prompts"].rows}
    assert rows["what"][1] == "yes"
    assert rows["this"][1] == "no"


def test_a_guard_that_rounds_is_judged_against_both_attackers() -> None:
    # Four bits are steps of 17/255: an unaware attack of 16/255 rounds to up to one step, an adaptive one at least so.
    finding = found()
    unaware, adaptive = (cells(finding, EMISSION, f"bits, {who}") for who in ("unaware", "adaptive"))
    assert unaware[0] == adaptive[0] == 0
    assert adaptive[-1] >= unaware[-1]
    assert any(check.name.startswith("who knows bits") for check in finding.checks)
    assert finding.tables[EMISSION].controls == {"noise": "no guard", "bits, unaware": "bits, adaptive"}


class Rejecting(BitDepth):
    def __call__(self, x: Tensor) -> Outcome:
        return replace(super().__call__(x), accepted=torch.ones(len(x), dtype=torch.bool))


def test_a_guard_that_rejects_is_refused() -> None:
    with pytest.raises(DataError, match="the guard 'detector' rejects pictures"):
        found(replace(JUDGE, guards={"detector": Rejecting}))


def test_attacked_pictures_are_bytes_inside_the_radius() -> None:
    finding = found()
    clean, moved = (finding.pictures[name].astype(int) for name in ("clean", "adversarial"))
    assert abs(clean - moved).max() == 16
    assert moved.min() >= 0
    assert "rounded to bytes" in finding.protocol["attacked pictures"]  # type: ignore[operator]


def test_a_radius_below_a_byte_moves_no_byte() -> None:
    finding = found(replace(JUDGE, eps=("0.5/255",), headline="0.5/255"), Reader(0.001))
    assert cells(finding, EMISSION, "no guard") == [0, 0]


def test_answers_are_shown_in_words_and_notes_are_told() -> None:
    finding = found()
    table = finding.tables["answers"]
    assert table.column("clean") == ("a cat", "a cat")
    assert table.column("attacked") == ("It is A Red Boat!", "It is A Red Boat!")
    assert finding.checks[-1].detail == "it reads signs"
    assert finding.figures["captions that name the class, no guard"].value == pytest.approx(0.5, abs=0.3)


def test_a_sentence_that_is_said_anyway_fails_a_check() -> None:
    finding = found(network=Reader(-0.01))
    assert finding.figures["emission on clean pictures"].value == 1
    assert finding.checks[0].passed is False


def test_the_network_is_left_as_it_was_and_findings_repeat() -> None:
    network = Reader().train()
    one = found(network=network)
    assert network.training
    assert network.signs.grad is None
    assert one.record() == found().record()


def test_matching_goes_by_words() -> None:
    assert holds("A photo of a Red\u2581boat.", YES)
    assert holds("it is: A  RED, boat", YES)
    assert not holds("a red boats", YES)
    assert not holds("red a boat", YES)
    assert not holds("", YES)
    assert not holds("anything", " . ")


def test_without_a_target_the_rarest_caption_is_taken() -> None:
    source = CaptionedClasses(flat(), templates=("a {name}", "{look} {name}"))

    class Reads(Reader):
        def require(self, text: str, what: str) -> None:
            if "dog" not in text:
                raise ConfigError("no")

    counts = [text for some in source.captions for text in some if "dog" in text]
    wanted = rarest(Reads(), source)
    assert counts.count(wanted) == min(map(counts.count, counts))
    with pytest.raises(DataError, match="name a harmless sentence by target"):
        found(replace(JUDGE, target=None))


def test_it_is_described_and_built_again() -> None:
    judge = replace(JUDGE, guards={"JPEG": by_jpeg, "bits": by_bit_depth})
    assert describe(build(describe(judge))) == describe(judge)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"held_out": ()}, "prompts and held_out must hold at least one each"),
        ({"held_out": ("what",)}, "the prompt 'what' is held out and known to the attacker"),
        ({"eps": ("8/255", "4/255")}, "eps must ascend from above 0 to 1 at most"),
        ({"headline": "3/255"}, r"headline must be one of eps \('4/255', '16/255'\), not '3/255'"),
        ({"steps": 0}, "steps must be at least 1, not 0"),
        ({"step": 0.0}, "step must be above 0"),
    ],
)
def test_bad_settings(changed: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        replace(JUDGE, **changed)  # type: ignore[arg-type]


def test_targets_and_prompts_that_it_cannot_read_are_refused() -> None:
    with pytest.raises(ConfigError, match="the target 'a blue boat' has the word 'blue'"):
        found(replace(JUDGE, target="a blue boat"))
    with pytest.raises(ConfigError, match="the prompt 'why' has the word 'why'"):
        found(replace(JUDGE, prompts=("why",)))
    with pytest.raises(DataError, match="pictures \\(C, H, W\\) are steered"):
        JUDGE.evaluate(Reader(), ArraySource(torch.rand(5, 7).numpy()))


@pytest.mark.thorough
def test_a_model_of_transformers_is_judged_as_it_is() -> None:
    pytest.importorskip("transformers")
    judge = Susceptibility(
        "a cat",
        ("this",),
        ("it",),
        ("64/255",),
        "64/255",
        guards={"JPEG": by_jpeg},
        samples=3,
        steps=4,
        shown=1,
        batch=2,
    )
    pixels = torch.randint(0, 256, (4, 3, 16, 16), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    network = vision("llava", longest=4)
    finding = judge.evaluate(network.float(), ArraySource(pixels))
    assert finding.protocol["network"] == "HuggingFaceVision"
    likely = finding.tables["target's likelihood"]
    assert number(likely.column("no guard")[1]) < number(likely.column("no guard")[0])
    rounding = vision("llava", side=24, longest=4, rounding="straight-through").float()
    pixels = torch.randint(0, 256, (2, 3, 24, 24), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    noted = judge.evaluate(rounding, ArraySource(pixels))
    assert "CLIPImageProcessor rounds" in noted.checks[-1].detail
