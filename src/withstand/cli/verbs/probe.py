"""probe: what a run's encoder is worth."""

from pathlib import Path

from withstand.api.settings import LabelTable
from withstand.cli.reply import Reply, finding_facts, then, what_next
from withstand.core.errors import ConfigError
from withstand.core.options import Device


def run_probe(
    run: Path,
    *,
    data: str | None = None,
    geometry: bool = False,
    temperature: float | None = None,
    groups: Path | None = None,
    eps: str | None = None,
    fine_tune: int | None = None,
    forgetting: bool = False,
    table: LabelTable = LabelTable(),  # noqa: B008 - a frozen value
    device: Device = "auto",
    allow: tuple[str, ...] = (),
) -> Reply:
    """Measure what a run's encoder is worth, beside an untrained one; without labels, gauges and neighbors only.

    Args:
        geometry: measure how its codes lie, what a contrastive loss would push, and every layer, in place of the probes
        temperature: of --geometry, at which the push is shared out; the method's own if not said
        groups: a table of test samples (their names, or places from 0 on) and their groups, or
            what the data say themselves, domain or user: accuracy in each, in place of the probes
        eps: of --groups: attack within this Linf radius too
        fine_tune: train the whole encoder on with so many labels a class, beside an untrained one, in place of the
            probes
        forgetting: of a run in stages: what each stage made of each stage's data, in place of the probes
    """
    from withstand.api.front import open_run

    asked = {"geometry": geometry, "groups": groups, "fine-tune": fine_tune, "forgetting": forgetting}
    given = [f"--{name}" for name, value in asked.items() if value not in (None, False)]
    if len(given) > 1:
        raise ConfigError(f"{' and '.join(given)} are two measurements: ask for one at a time")
    if forgetting and data is not None:
        raise ConfigError("--forgetting is about the data of the run's own stages: leave --data out")
    if eps is not None and groups is None:
        raise ConfigError("--eps belongs to --groups: withstand audit measures robustness as a whole")

    if temperature is not None and not geometry:
        raise ConfigError("--temperature belongs to --geometry: no other probe asks for one")
    if forgetting and table.labels is not None:
        raise ConfigError("--forgetting is judged by the stages' own labels: leave --labels out")
    opened = open_run(run, allow=allow, device=device, labels=table.labels, label_column=table.label_column)
    if groups is not None:
        finding = opened.groups(groups, data, eps=eps)
        return Reply(f"{finding}\n{then('report', run)}", {finding.name: finding_facts(finding)})
    if fine_tune is not None or forgetting:
        from withstand.evaluation.probes.fine_tuning import FineTuning

        finding = opened.forgetting() if fine_tune is None else opened.fine_tune(data, FineTuning(labels=fine_tune))
        return Reply(f"{finding}\n{then('report', run)}", {finding.name: finding_facts(finding)})
    if geometry:
        found = opened.geometry(data, temperature=temperature)
        text = "\n".join(str(finding) for finding in found)
        facts = {finding.name: finding_facts(finding) for finding in found}
        return Reply(f"{text}\n{then('report', run)}", {**facts})
    findings = opened.probe(data)
    text = "\n".join(str(finding) for finding in findings if finding.figures or finding.bare)
    facts = {finding.name: finding_facts(finding) for finding in findings}
    following = what_next(run, opened.method.products(), table.words() if opened.auditable else None, "report")
    return Reply(f"{text}\n{following}", {**facts})
