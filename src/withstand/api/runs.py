"""Run: a trained encoder with all that is known of it; ask it what it is worth and withstands.

One class with a method a verb, which makes the file longer than others: users meet it as one thing.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Literal

import torch
from torch import nn

from withstand.api.asked import attack_of, audit_of, certificate_of, solver_device
from withstand.api.learnt import learnt_attack, learnt_for_audit
from withstand.api.run_parts import RunParts
from withstand.api.settings import Audit, Certification, NamedAttack, changed, unusual
from withstand.api.subjects import victim_of
from withstand.attacks.attack import InputAttack
from withstand.attacks.autoattack.ensemble import AttackProgress, ProverFunction
from withstand.core.batch import Batch, as_structured, unit_range
from withstand.core.devices.device import moved
from withstand.core.errors import ConfigError, DataError
from withstand.core.findings.finding import Finding
from withstand.core.outputs import Output
from withstand.core.part import Tree
from withstand.core.random import Draws
from withstand.core.roles import Attack, Attacked, Evaluator, Source, View, network_of
from withstand.core.threat import Ball, Norm
from withstand.core.victims.victim import Victim
from withstand.data.load import Data
from withstand.data.shared.rows import own_rows, rows_like
from withstand.engine.export import to_onnx, to_safetensors
from withstand.engine.outputs import CONDENSED, Applied, Writer, maker_of, outputs, write_condensed
from withstand.engine.outputs import joined as joined_outputs
from withstand.evaluation.continual.forgetting import StageOutcome, forgetting
from withstand.evaluation.features import Features, embed, joined
from withstand.evaluation.judges import NEED_LABELS, STANDARD, judge
from withstand.evaluation.probes.fine_tuning import FineTuning
from withstand.evaluation.representation.contrastive_geometry import ContrastiveGeometry
from withstand.evaluation.representation.projection_head import Layers
from withstand.evaluation.representation.sample_state import SampleState
from withstand.evaluation.robustness.attacked import attack_samples
from withstand.evaluation.robustness.classifiers.autoattack_stage import Aids
from withstand.evaluation.robustness.corruptions import CorruptionBench, check_corruptible
from withstand.evaluation.robustness.fairness import GroupGaps
from withstand.report import render


class Run(RunParts):
    """A trained encoder with all that is known of it: a method a verb. Its folder is its whole state."""

    def embed(self, data: Data | None = None, *, split: str = "all") -> Features:
        """Return the features of every sample, in the order of its file, set or folder.

        `index` holds each sample's place there, `names` what it is called where it has a name, and `parts` the part
        that it belongs to. Labels are -1 where a sample has none.

        Args:
            data: the run's own if None.
            split: "all"; or "train", "test" or another part that the data come in. Of the run's own data, "train" is
                what was learnt from.

        Raises:
            ConfigError: the data have no such part.
        """
        source, test = self._build("source", Source), self._test()
        rows = own_rows(source, test, split) if data is None else rows_like(source, data, split)
        with moved(self.device, self.method):
            found = [replace(embed(self.encoder, some.source), index=some.index, parts=some.parts) for some in rows]
        return joined(found)

    def probe(self, data: Data | None = None) -> list[Finding]:
        """Measure what the encoder is worth, beside an untrained one, and keep the findings.

        Where a table of labels leaves samples without one, what needs no labels is not measured: the run's own samples,
        all of them, are what it is about.
        """
        train, test = self.sources(data)
        told = self._told
        judges = STANDARD if told is None or told.labelled == told.samples else NEED_LABELS
        with self._moved():
            findings = judge(judges, self.method, train, test=test, control=self.untrained_method)
            if data is None and told is None:
                findings += self._judged()
        return [self._keep(finding, data, test) for finding in findings]

    def _keep(self, finding: Finding, data: Data | None, judged: Source) -> Finding:
        """Save a finding, with the data that it is on, and return it.

        Other data's is saved under a name of its own, so that what the run's own data showed stays.
        """
        on: dict[str, Tree] = {
            "name": judged.name,
            "origin": judged.origin,
            "samples": len(judged),
            "fingerprint": judged.fingerprint(),
        }
        told = {} if self._told is None else {"labels": self._told.record()}
        finding = replace(finding, protocol={**finding.protocol, "data": on, **told})
        kept = finding.name
        if self._told is not None and self.source.labels is not None:  # what its own labels showed stays
            kept += f", labels of {_word(Path(self._told.path).stem)}"
        if data is not None:
            kept += f", on {_word(judged.name)}"
        self.folder.save(replace(finding, name=kept))
        return finding

    def _judged(self) -> list[Finding]:
        """Return what the experiment's own judges find, and what the method keeps of its samples."""
        judges = () if self._build_any("judges") is None else self._build("judges", tuple)
        return judge(
            (*judges, SampleState()),
            self.method,
            self._build("source", Source),
            test=self._test(),
            control=self.untrained_method,
        )

    @property
    def earlier(self) -> "Run | None":
        """The stage before this one, in a folder of its own or inside this run's; None where it built on nothing."""
        first = self.folder.described("first")
        if first is None:
            return None
        path = Path(first) if isinstance(first, str) else self.folder.first.path
        supply = {
            name.removeprefix("first."): value for name, value in self._supply.items() if name.startswith("first.")
        }
        return Run(path, supply=supply, allow=self._allow, device=str(self.device))

    def forgetting(self) -> Finding:
        """Measure what each stage of the run made of each stage's set, and keep the finding.

        Raises:
            ConfigError: the run has one stage alone.
            DataError: a stage kept no test samples.
        """
        stages: list[StageOutcome] = []
        run: Run | None = self
        while run is not None:
            source, test = run._build("source", Source), run._test()
            if test is None:
                raise DataError(f"{run.path} kept no test samples to measure forgetting on")
            stages.insert(0, StageOutcome(source.name, run.method, source, test, run._build("view", View)))
            run = run.earlier
        with moved(self.device, *(stage.method for stage in stages)):
            finding = forgetting(stages)
        return self._keep(finding, None, stages[-1].test)

    def fine_tune(self, data: Data | None = None, asked: FineTuning = FineTuning()) -> Finding:  # noqa: B008 - frozen
        """Train the encoder on with few labels, beside an untrained one, and keep the finding; the run stays as it is.

        Args:
            data: the run's own if None.
            asked: how many labels, how long, at which rate.

        Raises:
            DataError: the data have too few labels, or none.
        """
        train, test = self.sources(data)
        with self._moved():
            finding = asked.evaluate(self.encoder, train, test=test, control=self.untrained)
        return self._keep(finding, data, test)

    def groups(
        self, table: str | Path, data: Data | None = None, *, norm: Norm = "linf", eps: str | float | None = None
    ) -> Finding:
        """Measure the classifier's accuracy in each group of a table, and keep the finding.

        Args:
            table: names of test samples, or their places, and their groups (see `withstand.data.shared.groups`), or an
                attribute that the data know of their samples, as "domain".
            data: the run's own if None.
            norm: of the attack's ball.
            eps: attack within this radius too, by PGD; None for clean samples alone.

        Raises:
            DataError: the data have no labels, or the table is about none of the samples.
        """
        victim, test = self.victim(data)
        ball = None if eps is None else Ball(norm, victim.radius(eps, norm))
        with moved(self.device, victim.model):
            finding = GroupGaps(str(table), ball).evaluate(victim, test)
        return self._keep(finding, data, test)

    def geometry(self, data: Data | None = None, *, temperature: float | None = None) -> list[Finding]:
        """Measure how the codes lie on the sphere, what a contrastive loss would push, and what the head threw away.

        All beside the untrained method; the findings, "geometry" and "layers", are kept.

        Args:
            data: the run's own if None.
            temperature: at which the push is shared out in detail; the method's own if None, else 0.2.
        """
        train, test = self.sources(data)
        own = self.method._init_args.get("temperature")
        tau = temperature if temperature is not None else own if isinstance(own, float) else 0.2
        judges = ContrastiveGeometry(temperature=tau, view=self._two_views(test)), Layers()
        with self._moved():
            findings = judge(judges, self.method, train, test=test, control=self.untrained_method)
        return [self._keep(finding, data, test) for finding in findings]

    def _two_views(self, source: Source) -> View | None:
        """Return the run's view, where it makes two views of a sample."""
        view, first = self._build("view", View), source[torch.arange(min(2, len(source)))]
        return view if len(view(first, Draws(0, first.index)).views) >= 2 else None

    def audit(
        self,
        data: Data | Audit | None = None,
        asked: Audit = Audit(),  # noqa: B008 - a frozen value
        *,
        surrogate: str | Path | nn.Module | Victim | None = None,
        attack: str | Path | InputAttack | None = None,
        prover: ProverFunction | None = None,
        progress: Callable[[AttackProgress], None] | None = None,
        **settings: object,
    ) -> Finding:
        """Measure what the encoder withstands, with the checks that make it believable, and keep the finding.

        With labels the encoder is attacked through a linear probe; without, its embeddings are moved. An audit
        that was killed goes on where AutoAttack was.

        Args:
            data: the run's own if None; what is asked for may stand in their place.
            asked: norm, radii, samples, attacks.
            surrogate: another model, as for `withstand.audit`, whose attacks are carried over to this one.
            attack: one that was learnt, as for `withstand.audit`, run at every radius of the headline's norm.
            prover: samples that it proves are not attacked.
            progress: is told how far the audit is.
            **settings: single fields of `asked`, by name: `eps="4/255"`.

        Raises:
            ConfigError: a setting that there is not, or that the run's own audit does not take.
        """
        data, asked = (None, data) if isinstance(data, Audit) else (data, asked)
        asked = changed(asked, settings)
        own = self._build_any("audit")
        if isinstance(own, Evaluator):
            return self._own_audit(own, data, asked, alone=surrogate is None and attack is None and prover is None)
        audit = audit_of(_of_range(self.sources(data)[1]), asked)  # refused before a probe is fitted
        victim, test = self.victim(data)
        aids = Aids(
            surrogate=None if surrogate is None else victim_of(surrogate, self.sources(data)[0], self._allow),
            learnt=None if attack is None else learnt_for_audit(attack, self._allow),
            prover=prover,
            state=self.folder.path / "audit.state",
            progress=progress,
        )
        with moved(self.device, victim.model):
            finding = self._keep(audit.evaluate(victim, test, aids=aids), data, test)
        (self.folder.path / "audit.state").unlink(missing_ok=True)
        return finding

    def _own_audit(self, own: Evaluator, data: Data | None, asked: Audit, *, alone: bool) -> Finding:
        """Make the audit that the run's experiment names, with the settings that it has too."""
        if not alone:
            raise ConfigError("this run has an audit of its own, which takes no surrogate, learnt attack or prover")
        changes = unusual(asked)
        takes = [name for name in ("samples", "steps", "seed") if name in own._init_args]
        refused = [name for name in changes if name not in takes]
        if refused:
            raise ConfigError(
                f"this run has an audit of its own, which takes {', '.join(takes) or 'no settings'}: "
                f"{', '.join(refused)} {'is' if len(refused) == 1 else 'are'} set when it is trained"
            )
        judge = type(own)(**{**own._init_args, **changes})
        test = self.sources(data)[1]
        if judge.product in ("encoder", "classifier"):
            bare = judge.product == "encoder" and test.labels is None
            attacked = self.encoder if bare else self.classifier(data)
            return self._keep(judge.evaluate(attacked, test), data, test)
        if judge.product == "method":
            with self._moved():
                return self._keep(judge.evaluate(self.method, test, control=self.untrained_method), data, test)
        subject = network_of(self.method, judge.product).eval()
        with self._moved():
            control = network_of(self.untrained_method, judge.product).eval()
            return self._keep(judge.evaluate(subject, test, control=control), data, test)

    def corruptions(self, data: Data | None = None, *, samples: int = 500, seed: int = 0) -> Finding:
        """Measure what is left of the accuracy under the fifteen common corruptions, and keep the finding.

        Args:
            data: the run's own if None.
            samples: how many test pictures are corrupted.
            seed: of the choice of pictures and of every draw.

        Raises:
            DataError: the data have no labels, or are no pictures.
        """
        _, test = self.sources(data)
        check_corruptible(test)
        classifier = self.classifier(data)
        with moved(self.device, classifier):
            finding = CorruptionBench(samples=samples, seed=seed).evaluate(Victim(classifier), test)
        return self._keep(finding, data, test)

    def certify(
        self,
        data: Data | Certification | None = None,
        asked: Certification = Certification(),  # noqa: B008 - a frozen value
        **settings: object,
    ) -> Finding:
        """Prove what the classifier withstands, break it, or say that nobody knows, and keep the finding.

        Args:
            data: the run's own if None; what is asked for may stand in their place.
            asked: norm, radius, method, samples, time.
            **settings: single fields of `asked`, by name: `method="crown"`.

        Raises:
            DataError: the data have no labels.
            ConfigError: an operation without bounds, or a setting that there is not.
        """
        data, asked = (None, data) if isinstance(data, Certification) else (data, asked)
        asked = changed(asked, settings)
        test = self.sources(data)[1]
        evaluator = certificate_of(_of_range(test), asked)
        _refuse_structured(test, "certificates bound networks whose samples are one tensor each")
        classifier = self.classifier(data)
        with moved(solver_device(asked.method, self.device), classifier):
            finding = evaluator.evaluate(Victim(classifier, low=test.low, high=test.high), test)
        return self._keep(finding, data, test)

    def attack(
        self,
        data: Data | NamedAttack | None = None,
        asked: NamedAttack = NamedAttack(),  # noqa: B008 - a frozen value
        **settings: object,
    ) -> tuple[Attacked, Batch]:
        """Attack test samples, and return what was found with the clean batch.

        Of nodes of a graph, the own features are moved, all at once, by pgd, bim, fgsm or noise.

        Args:
            data: the run's own if None; what is asked for may stand in their place.
            asked: which attack, also one that another run learnt, within what, on how many samples.
            **settings: single fields of `asked`, by name: `attack="apgd"`.

        Raises:
            ConfigError: an unknown attack or setting, or an attack that the samples do not allow.
            DataError: samples that are whole graphs.
        """
        data, asked = (None, data) if isinstance(data, NamedAttack) else (data, asked)
        asked = changed(asked, settings)
        learnt = learnt_attack(asked.attack, self._allow)
        # What is asked for is refused before a probe is fitted.
        attack_of(_of_range(self.sources(data)[1]), asked, embedding=False, learnt=learnt)
        victim, test = self.victim(data)
        bare = self.sources(data)[0].labels is None  # then the encoder is attacked
        made = attack_of(victim, asked, embedding=bare, learnt=learnt)
        with moved(self.device, victim.model):
            return attack_samples(made, victim, test, samples=asked.samples, labelled=not bare, seed=asked.seed)

    def apply(
        self, data: Data | None = None, *, part: str | None = None, split: str = "all", **settings: object
    ) -> dict[str, Output]:
        """Return what the run makes of every sample, in the data's order: predictions, pictures, masks, keypoints.

        Args:
            data: the run's own if None; read as the run's own were, labels are not needed.
            part: the product that is applied; None for what the method itself holds to be its output.
            split: "all"; or "train", "test" or another part that the data come in.
            **settings: what the method's own output can be told, by name.

        Raises:
            ConfigError: a run that only embeds, or settings that it does not have.
        """
        pieces = self._outputs(data, part, split, settings)
        return joined_outputs(made for _, made in pieces)

    def apply_to(
        self,
        out: str | Path,
        data: Data | None = None,
        *,
        part: str | None = None,
        split: str = "all",
        **settings: object,
    ) -> Applied:
        """Write what the run makes of every sample to a new folder, batch by batch; arguments as for `apply`.

        Pictures and masks are PNG files, named as their samples; points and columns are CSV tables. A condensed set
        needs no samples, and is an `.npz` file.
        """
        condensed = self.method.products().get(CONDENSED)
        if isinstance(condensed, Source) and part in (None, CONDENSED):
            if data is not None or settings:
                raise ConfigError("a condensed set is written as it was learnt: it takes no data and no settings")
            return write_condensed(condensed, Path(out))
        pieces = self._outputs(data, part, split, settings)
        first = next(pieces)  # what is refused is refused before a folder is made
        return Writer(Path(out)).write(chain([first], pieces))

    def _outputs(
        self, data: Data | None, part: str | None, split: str, settings: Mapping[str, object]
    ) -> Iterator[tuple[Sequence[str], dict[str, Output]]]:
        """Yield the names of a batch's samples and what is made of them."""
        source, test = self._build("source", Source), self._test()
        maker = maker_of(self.method, part, source.classes)
        rows = own_rows(source, test, split) if data is None else rows_like(source, data, split)
        with moved(self.device, self.method):
            for some in rows:
                known = some.source.names or [f"{place:06}" for place in some.index.tolist()]
                several = len(rows) > 1 and not some.source.names
                for batch, made in outputs(self.method, maker, some.source, settings):
                    yield (
                        [f"{some.parts[row]}-{known[row]}" if several else known[row] for row in batch.index.tolist()],
                        made,
                    )

    def export(
        self,
        out: str | Path | None = None,
        *,
        form: Literal["safetensors", "onnx"] = "safetensors",
        part: str = "encoder",
    ) -> Path:
        """Write one of the networks that the run gives, or the attack that it learnt, and return the file's path.

        Args:
            out: the file; `PART.safetensors` (with `PART.json`, its description) or `PART.onnx` in the run folder if
                None.
            form: "safetensors", or "onnx" (extra `export`), whose outputs are compared with torch's.
            part: a product's name. The classifier of a run that trains none is its encoder with a linear probe.

        Raises:
            ConfigError: the run gives none of that name, or what the form does not hold.
        """
        product = self.method.product(part) if part == "attack" else None
        if isinstance(product, Attack) and form == "onnx":
            raise ConfigError("ONNX files hold networks, and an attack is none: use the form safetensors")
        if isinstance(product, Attack):
            return to_safetensors(product, Path(out) if out is not None else self.path / "attack.safetensors")
        network = self.classifier() if part == "classifier" else network_of(self.method, part).eval()
        path = Path(out) if out is not None else self.path / f"{part.replace(' ', '-')}.{form}"
        if form == "onnx":
            train = self.sources()[0]
            _refuse_structured(train, "ONNX files hold networks whose samples are one tensor: use the form safetensors")
            return to_onnx(network, unit_range(train[torch.arange(min(3, len(train)))].x), path)
        return to_safetensors(network, path)

    def report(self) -> Path:
        """Write `report.html` from what the run folder holds, and return its path."""
        return render(self.path)


def _word(name: str) -> str:
    """Return a name as it may stand in a file's."""
    return re.sub(r"[^\w.-]+", "-", name)


def _of_range(source: Source) -> Victim:
    """Return a victim whose inputs lie where a source's numbers do: what radii are of, before there is a network."""
    return Victim(nn.Flatten(), low=source.low, high=source.high)


def _refuse_structured(source: Source, reason: str) -> None:
    """Refuse samples that no single tensor holds."""
    if (whole := as_structured(source[[0]].x)) is not None:
        raise ConfigError(f"this run's samples come as {type(whole).__name__}, of several tensors: {reason}")
