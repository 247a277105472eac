"""What attacks, audits and certificates are asked for, and of which inputs: one object each, for Python and for the
command line.

The fields are the options of `withstand attack`, `audit`, `certify`, `match` and others, and what is said of them here
is their help.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Literal, TypeVar

from withstand.core.errors import ConfigError, nearest
from withstand.core.files.reading import PLAIN, Reading
from withstand.core.options import ConvexNorm, Norm, Options, names_within, with_fields

Asked = TypeVar("Asked", "NamedAttack", "Audit", "Certification", "Matching", "Inspection", "Tracing", "Steering")


@dataclass(frozen=True)
class NamedAttack(Options):
    """One attack by its name, or one that was learnt, and on what.

    Args:
        attack: fgsm, bim, pgd, mi-fgsm, di-mi-fgsm, ti-mi-fgsm, apgd, apgd-dlr, apgd-t, fab, fab-t, square, deepfool,
            ddn, fmn, pdpgd, sigma-zero, hop-skip-jump or noise; or one that was learnt: a run folder that gives it, or
            FILE.safetensors with its FILE.json
        norm: how the size of a change is measured; if not said Linf (linf), or what the attack takes; L0 counts entries
        eps: the largest change, in input units or as a share of the input range, as 8/255 or 5%; if not said 8/255, of
            rows of a table 5 % of each column's range, and a learnt attack's own; any for the distance of the nearest
            point that ddn, fab, fmn and their like find
        steps: gradient steps, or queries; the attack's own number if not said
        restarts: independent tries for each sample; the attack's own number if not said
        samples: how many test samples, from the first on
        seed: of random starts
    """

    attack: str = "pgd"
    norm: Norm | None = None
    eps: str | float | None = None
    steps: int | None = None
    restarts: int | None = None
    samples: int = 64
    seed: int = 0


@dataclass(frozen=True)
class Audit(Options):
    """What a network withstands, and whether the numbers can be believed.

    Args:
        norm: of the headline's threat model, Linf if not said, and an audit's own where a run has one; curves are drawn
            for Linf and L2 in any case
        eps: radii in input units, or as shares of the input range like 8/255 or 5%; if not said 8/255, of rows of a
            table 5 % of each column's range. The largest is the headline, and one alone joins the usual curve. Of nodes
            and tokens as shares of their mean length, or of nodes' largest feature value
        samples: how many test samples are attacked
        steps: gradient steps at each radius
        ensemble: AutoAttack's version at the headline's radius; none for a quick look by PGD alone
        search: plain takes every step of the published AutoAttack; fast leaves out those that hardly ever matter
        seed: of the choice of samples and of random starts
    """

    norm: ConvexNorm | None = None
    eps: str | float | Sequence[str | float] | None = None
    samples: int = 500
    steps: int = 20
    ensemble: Literal["standard", "plus", "rand", "none"] = "standard"
    search: Literal["plain", "fast"] = "plain"
    seed: int = 0


@dataclass(frozen=True)
class Certification(Options):
    """What is proven of a network.

    Args:
        norm: how the size of a change is measured
        eps: the radius, in input units or as a share of the input range like 1/255; curves go to twice that
        method: bounds alone (ibp, crown-ibp, crown, alpha-crown; auto is the cheap ones first); bab, milp, smt or grid
            also search; smoothing certifies the noisy classifier in L2, with confidence and not by proof
        samples: how many test samples are certified
        timeout: seconds of search for each sample
        sigma: of smoothing's noise, in input units; a quarter of the input range if not said
        features: inputs that a grid steps together, the most prominent first; all if not said
        spans: a grid's steps to each side
        seed: of the choice of samples, and of everything that is drawn
    """

    norm: ConvexNorm = "linf"
    eps: str | float = "1/255"
    method: Literal["auto", "ibp", "crown-ibp", "crown", "alpha-crown", "bab", "milp", "smt", "grid", "smoothing"] = (
        "auto"
    )
    samples: int = 100
    timeout: float = 10.0
    sigma: float | None = None
    features: int | None = None
    spans: int = 1
    seed: int = 0


@dataclass(frozen=True)
class Inputs(Options):
    """What a network takes that is no run and no `Victim`, which say it themselves.

    Args:
        low: of a network that is no run: the smallest input value, 0 if not said
        high: of a network that is no run: the largest input value, 1 if not said
        normalize: of a network that is no run: the channels' means and then their deviations, MEAN,STD, if it leaves
            that to its caller; in Python a pair of lists too
        size: of a network that is no run: the side to which pictures of a folder are brought, 64 if not
            said
        reading: what picture files do not say themselves.
    """

    low: float | None = None
    high: float | None = None
    normalize: Sequence[str] | Sequence[Sequence[float]] | None = None
    size: int | None = None
    reading: Reading = PLAIN

    def of_network(self) -> bool:
        """Return whether anything is said of a network: a size and how files are read are the data's."""
        return replace(self, size=None, reading=PLAIN) != Inputs()

    def pair(self) -> tuple[Sequence[float], Sequence[float]] | None:
        """Return `normalize` as `(mean, std)`; None where nothing is said.

        >>> Inputs(normalize=["0.5,0.25"]).pair(), Inputs(normalize=["0.1,0.2", "0.3,0.4"]).pair()
        (([0.5], [0.25]), ([0.1, 0.2], [0.3, 0.4]))

        Raises:
            ConfigError: words that are no numbers, or have no deviation for each mean.
        """
        if not self.normalize:
            return None
        words = [word for word in self.normalize if isinstance(word, str)]
        if not words:
            mean, std = (each for each in self.normalize if not isinstance(each, str))
            return mean, std
        try:
            numbers = [float(number) for word in words for number in word.split(",") if number.strip()]
        except ValueError:
            numbers = []
        half = len(numbers) // 2
        if not numbers or len(numbers) != 2 * half:
            raise ConfigError(
                f"normalize takes the channels' means and then their deviations, say 0.5,0.25 or "
                f"0.49,0.48,0.45 0.25,0.24,0.26, not {' '.join(words)!r}"
            )
        return numbers[:half], numbers[half:]


@dataclass(frozen=True)
class Matching(Options):
    """How tables are matched and merged.

    Args:
        id: the column that names rows, in every table; one called id is found by itself
        ignore: columns that are not compared; they are merged all the same
        threshold: least probability of a match; found on self-made pairs, without labels, if not said
        grouping: how pairs become sets: louvain holds against single false pairs, components follows every pair
        nearest: records that each is compared with
        look: how many of the least sure pairs are listed
        epochs: passes over the records, where a matcher is to be learnt first; if not said 10, and more for few
            records: 60 steps at least
        seed: of everything that is drawn
    """

    id: str | None = None
    ignore: tuple[str, ...] = ()
    threshold: float | None = None
    grouping: Literal["louvain", "components"] = "louvain"
    nearest: int = 10
    look: int = 50
    epochs: int | None = None
    seed: int = 0


@dataclass(frozen=True)
class Inspection(Options):
    """How pictures are looked through for what may be a trigger.

    Args:
        split: the part that is looked through, where data come in parts
        size: side in pixels to which a folder's photos are brought; their own if not said and they are squares of one
            size, else 64
        window: side of the windows whose frequencies are looked at, which divides the pictures'; several if not said
        threshold: robust standard deviations from which a picture's frequency counts as beyond the usual
        look: how many pictures without a shared frequency are listed behind those with one, the most unusual first
        clusters: with a run, and without labels: classes that features are split into
        seed: of everything that is drawn
        reading: what picture files do not say themselves.
    """

    split: Literal["train", "test"] = "train"
    size: int | None = None
    window: int | None = None
    threshold: float = 10.0
    look: int = 20
    clusters: int = 10
    seed: int = 0
    reading: Reading = PLAIN


@dataclass(frozen=True)
class Tracing(Options):
    """How adversarial examples are traced to a copy.

    Args:
        confidence: a copy is named from this probability on, else the source is unknown
        level: and where its p-value, corrected for the number of copies, is at most this
        prior: the probability, before any evidence, that the source is none of the copies
        samples: clean pictures that are attacked on each copy, to learn what evidence is worth
        seed: of everything that is drawn
    """

    confidence: float = 0.9
    level: float = 0.05
    prior: float = 0.5
    samples: int = 64
    seed: int = 0


@dataclass(frozen=True)
class Steering(Options):
    """How pictures are moved so that a vision-language model says one harmless sentence.

    Args:
        target: the sentence, a harmless one: the rate that it is said at measures the same; where pictures come with
            captions the rarest of these if not said
        prompts: what the attacker asks
        held_out: what is asked when it counts
        eps: Linf radii, ascending
        headline: the radius that the finding is read for, one of eps
        guards: purifiers that are tried before the model, against who knows of them and who does not: jpeg, bit-depth,
            median, noise; or none
        samples: how many pictures are attacked
        steps: of each attack; 5,000 in the paper
        step: a step's length
        size: side in pixels to which pictures of a folder are brought; the processor's own if not said
        rounding: of a processor that rounds resized pictures to bytes: refuse it, or pass over that on the way back
        template: what the model is asked, with {prompt} and the processor's own sign for a picture; its chat template
            if not said
        before: what stands between question and answer, say a space
        longest: tokens after which an answer is cut
        batch: pictures that are attacked at once, each with all prompts
        seed: of the choice of pictures and prompts, and of all that attacks draw
        reading: what picture files do not say themselves.
    """

    target: str | None = None
    prompts: tuple[str, ...] = ("what is this ?", "describe the photo", "what do you see ?")
    held_out: tuple[str, ...] = ("tell me what is here", "what is in this photo ?", "caption this picture")
    eps: tuple[str, ...] = ("4/255", "8/255", "16/255", "32/255")
    headline: str = "16/255"
    guards: tuple[str, ...] = ("jpeg", "bit-depth")
    samples: int = 50
    steps: int = 100
    step: str = "1/255"
    size: int | None = None
    rounding: Literal["refuse", "straight-through"] = "refuse"
    template: str | None = None
    before: str = ""
    longest: int = 24
    batch: int = 64
    seed: int = 0
    reading: Reading = PLAIN


@dataclass(frozen=True)
class LabelTable(Options):
    """Labels that are given later, for a run whose data had none or others.

    Args:
        labels: a table of samples' file names (or places from 0 on) and their labels, which hold in place of the data's
            own; rows that find no sample, and samples in no row, are counted
        label_column: of the labels in that table; found by itself if not said
    """

    labels: Path | None = None
    label_column: str | None = None

    def words(self) -> list[str]:
        """Return the options that say it again."""
        told = (("--labels", self.labels), ("--label-column", self.label_column))
        return [str(word) for pair in told if pair[1] is not None for word in pair]

    def refuse_for_networks(self) -> None:
        """Refuse labels for what is no run.

        Raises:
            ConfigError: some are given.
        """
        if self != LabelTable():
            raise ConfigError("--labels and --label-column are for runs: label a network's data in --data")


def changed(settings: Asked, changes: Mapping[str, object]) -> Asked:
    """Return settings with some of them given by name.

    Raises:
        ConfigError: a name that is none of them, with the nearest.
    """
    known = sorted(names_within(settings) | {field.name for field in fields(settings)})
    for name in changes:
        if name not in known:
            raise ConfigError(f"{type(settings).__name__} has no setting {name!r}: {nearest(name, known)}")
    return with_fields(settings, changes)  # values are checked where they are used


def both(asked: Asked, inputs: Inputs, changes: Mapping[str, object]) -> tuple[Asked, Inputs]:
    """Return what is asked for, and of which inputs, with some fields of either given by name.

    Raises:
        ConfigError: a name that is none of them, with the nearest.
    """
    of_inputs = names_within(inputs) | {field.name for field in fields(inputs)}
    rest = {name: value for name, value in changes.items() if name not in of_inputs}
    return changed(asked, rest), with_fields(inputs, {name: changes[name] for name in of_inputs & changes.keys()})


def unusual(settings: Asked) -> dict[str, object]:
    """Return the settings that are not the usual ones, by name."""
    usual = type(settings)()
    now = {field.name: getattr(settings, field.name) for field in fields(settings)}
    return {name: value for name, value in now.items() if value not in (getattr(usual, name), (getattr(usual, name),))}
