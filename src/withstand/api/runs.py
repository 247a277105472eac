"""Run: a trained encoder with all that is known of it; ask it what it is worth and withstands.

One class with a method a verb, which makes the file longer than others: users meet it as one thing.
"""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from withstand.api.asked import attack_of, audit_of, certificate_of, own_audit_of, solver_device
from withstand.api.learnt import learnt_attack, learnt_for_audit
from withstand.api.run_outputs import RunOutputs, refuse_structured
from withstand.api.settings import Audit, Certification, NamedAttack, changed
from withstand.api.subjects import surrogate_of
from withstand.attacks.attack import InputAttack
from withstand.attacks.autoattack.ensemble import AttackProgress, ProverFunction
from withstand.core.batch import Batch
from withstand.core.devices.device import moved
from withstand.core.errors import ConfigError, DataError
from withstand.core.findings.finding import Check, Finding
from withstand.core.part import Tree
from withstand.core.random import Draws
from withstand.core.roles import Attacked, Evaluator, Source, View, network_of
from withstand.core.threat import Ball, Norm
from withstand.core.victims.victim import Victim
from withstand.data.load import Data
from withstand.evaluation.continual.forgetting import StageOutcome, forgetting
from withstand.evaluation.judges import LEFT_OUT, NEED_LABELS, STANDARD, judge, left_out, left_out_elsewhere
from withstand.evaluation.probes.fine_tuning import FineTuning
from withstand.evaluation.representation.contrastive_geometry import ContrastiveGeometry
from withstand.evaluation.representation.projection_head import Layers
from withstand.evaluation.representation.sample_state import SampleState
from withstand.evaluation.robustness.attacked import Aimed, aim_samples, attack_samples
from withstand.evaluation.robustness.classifiers.autoattack_stage import Aids
from withstand.evaluation.robustness.corruptions import CorruptionBench, check_corruptible
from withstand.evaluation.robustness.fairness import GroupGaps
from withstand.report import render


class Run(RunOutputs):
    """A trained encoder with all that is known of it: a method a verb. Its folder is its whole state."""

    def probe(self, data: Data | None = None) -> list[Finding]:
        """Measure what the encoder is worth, beside an untrained one, and keep the findings.

        Where a table of labels leaves samples without one, what needs no labels is not measured: the run's own samples,
        all of them, are what it is about. The finding "left-out" says which of the run's own judges had not what they
        need; those of masks or points, say, judge the run's own data alone.
        """
        data = self.others(data)
        train, test = self.sources(data)
        told = self._told
        judges = STANDARD if told is None or told.labelled == told.samples else NEED_LABELS
        with self._moved():
            findings = judge(judges, self.method, train, test=test, control=self.untrained_method)
            if data is not None:
                findings += left_out_elsewhere(self._names_of_judges())
            elif told is None:
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
        if data is not None and judged.kind == "picture" and judged.at_once != 1 and judged.shape[1:] != self.shape[1:]:
            on["shape"], on["learnt from"] = list(judged.shape), list(self.shape)
        told = {} if self._told is None else {"labels": self._told.record()}
        if self.begins_with:
            finding = finding.with_control("before training")
        if data is None and self.kept_none and not finding.bare:
            finding = replace(finding, checks=(*finding.checks, _seen(len(judged), self.source)))
        finding = replace(finding, protocol={**finding.protocol, "data": on, **told})
        kept = finding.name
        if self._told is not None and self.source.labels is not None:  # what its own labels showed stays
            kept += f", labels of {_word(Path(self._told.path).stem)}"
        if data is not None:
            kept += f", on {_word(judged.name)}"
        self.folder.save(replace(finding, name=kept))
        return finding

    def _names_of_judges(self) -> list[str]:
        """Return what the classes of the experiment's own judges are called; their data may be gone."""
        described = self.folder.described("judges")
        judges = described if isinstance(described, list) else []
        return [
            str(one["class_path"]).rpartition(".")[2] for one in judges if isinstance(one, dict) and "class_path" in one
        ]

    def _judged(self) -> list[Finding]:
        """Return what the experiment's own judges find, which had to be left out, and what the method keeps."""
        judges = () if self._build_any("judges") is None else self._build("judges", tuple)
        source, test = self._build("source", Source), self._test()
        found = judge((*judges, SampleState()), self.method, source, test=test, control=self.untrained_method)
        told = left_out(judges, self.method, source, test=test)
        if not told:
            self.folder.drop(LEFT_OUT)  # what an earlier probe lacked
        return found + told

    @property
    def earlier(self) -> "Run | None":
        """The stage before this one, in a folder of its own or inside this run's; None where it built on nothing."""
        first = self.folder.described("first")
        if first is None:
            return None
        path = self._data.earlier(first) if isinstance(first, str) else self.folder.first.path
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
        data = self.others(data)
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
        data = self.others(data)
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
        data = self.others(data)
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
        asked, data = changed(asked, settings), self.others(data)
        own = self._build_any("audit")
        if isinstance(own, Evaluator):
            return self._own_audit(own, data, asked, alone=surrogate is None and attack is None and prover is None)
        audit = audit_of(_of_range(self.judged(data)[1]), asked)  # refused before a probe is fitted
        victim, test = self.victim(data)
        aids = Aids(
            surrogate=None
            if surrogate is None
            else surrogate_of(surrogate, self.judged(data)[0], test.classes, self._allow),
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
        judge = own_audit_of(own, asked)
        test = self.judged(data)[1]
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
        data = self.others(data)
        _, test = self.judged(data)
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
        asked, data = changed(asked, settings), self.others(data)
        test = self.judged(data)[1]
        evaluator = certificate_of(_of_range(test), asked)
        refuse_structured(test, "certificates bound networks whose samples are one tensor each")
        classifier = self.classifier(data)
        with moved(solver_device(asked.method, self.device), classifier):
            victim = Victim(classifier, low=test.low, high=test.high, changeable=test.changeable, levels=test.levels)
            finding = evaluator.evaluate(victim, test)
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
        asked, data = changed(asked, settings), self.others(data)
        learnt = learnt_attack(asked.attack, self._allow)
        # What is asked for is refused before a probe is fitted.
        attack_of(_of_range(self.judged(data)[1]), asked, embedding=False, learnt=learnt)
        victim, test = self.victim(data)
        bare = self.sources(data)[0].labels is None  # then the encoder is attacked
        made = attack_of(victim, asked, embedding=bare, learnt=learnt)
        with moved(self.device, victim.model):
            return attack_samples(made, victim, test, samples=asked.samples, labelled=not bare, seed=asked.seed)

    def aim(
        self,
        target: Data,
        data: Data | NamedAttack | None = None,
        asked: NamedAttack = NamedAttack(),  # noqa: B008 - a frozen value
        **settings: object,
    ) -> Aimed:
        """Lead test samples towards another one, as the encoder sees them, and return what was found.

        Args:
            target: the path of a picture's file, or whatever holds one sample of the run's kind; read as its own were.
            data: the run's own if None; what is asked for may stand in their place.
            asked: which attack, also one that another run learnt for such ends, within what, on how many samples.
            **settings: single fields of `asked`, by name: `attack="apgd"`.

        Raises:
            ConfigError: an unknown attack or setting, an attack that cannot be aimed, or a target of several samples.
            DataError: a target or samples that the encoder does not read.
        """
        data, asked = (None, data) if isinstance(data, NamedAttack) else (data, asked)
        asked, data = changed(asked, settings), self.others(data)
        learnt = learnt_attack(asked.attack, self._allow)
        test = self.sources(data)[1]
        made = attack_of(_of_range(test), asked, embedding=True, learnt=learnt, aimed=True)
        rows = self._rows(target, "all")
        if (count := sum(len(some.source) for some in rows)) != 1:
            raise ConfigError(f"target must hold one {test.kind}, and holds {count:,}")
        (one,) = (some for some in rows if len(some.source))
        victim = Victim(self.encoder, low=test.low, high=test.high, changeable=test.changeable, levels=test.levels)
        with moved(self.device, victim.model):
            return aim_samples(made, victim, test, one.source[[0]].x[0], samples=asked.samples, seed=asked.seed)

    def report(self) -> Path:
        """Write `report.html` from what the run folder holds, and return its path."""
        return render(self.path)


def _seen(judged: int, source: Source) -> Check:
    """Return that nobody knows what samples would show that were not learnt from."""
    detail = (
        f"the run kept none: the {judged:,} {source.kind}s judged are of the {len(source):,} that it learnt from, "
        "without labels, and new ones may do worse"
    )
    return Check("what new samples would show", None, detail)


def _word(name: str) -> str:
    """Return a name as it may stand in a file's."""
    return re.sub(r"[^\w.-]+", "-", name)


def _of_range(source: Source) -> Victim:
    """Return a victim whose inputs lie where a source's numbers do: what radii are of, before there is a network."""
    return Victim(nn.Flatten(), low=source.low, high=source.high, levels=source.levels)
