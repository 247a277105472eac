"""Write docs/benchmarks.md from what benchmarks stored in docs/benchmarks/.

python tools/benchmarks_page.py
"""

import json
from pathlib import Path
from typing import Any

from withstand.core.findings.finding import Finding
from withstand.recipes.catalogue import entries

DOCS = Path(__file__).parent.parent / "docs"
STORED = DOCS / "benchmarks"


def page() -> str:
    """Return the page's text."""
    findings = {path.stem.removeprefix("methods-"): Finding.load(path) for path in STORED.glob("methods-*.json")}
    lines = [
        "# Benchmarks",
        "",
        "Made by `python tools/benchmarks_page.py` from what is stored in [benchmarks/](benchmarks).",
    ]
    if "simclr" in findings:  # costs are told over its
        lines += ["", "## Joint-embedding methods on one budget", "", *_methods(findings)]
    if steps := _last("steps.jsonl"):
        lines += ["", "## A step over SimCLR's", "", *_steps(list(steps.values())[-1])]
    if loops := _last("lightly-loops.jsonl"):
        lines += ["", "## End to end, against lightly's loops", "", *_loops(loops)]
    if attacks := _last("autoattack.jsonl"):
        lines += ["", "## AutoAttack against its peers", "", *_attacks(attacks)]
    if nearest := _stored("minimal-norm.jsonl"):
        lines += ["", "## The nearest adversarial example", "", *_nearest(nearest)]
    if peers := _last("peers.jsonl"):
        lines += ["", "## Beside other code", "", *_peers(peers)]
    return "\n".join(lines) + "\n"


def _methods(findings: dict[str, Finding]) -> list[str]:
    """Return the table of methods, the untrained control first, the others by their kNN accuracy."""
    one = findings["simclr"]
    budget = one.protocol
    titles = {item.slug: item.title.partition(":")[0] for item in entries()}
    order = sorted(findings, key=lambda slug: (slug != "untrained", -findings[slug].numbers["kNN accuracy"]))
    seconds = "processor seconds of training"
    rows = []
    for slug in order:
        found = findings[slug]
        name = f"[{titles[slug]}](methods/{slug}.md)" if slug in titles else slug
        cost = f"{found.numbers[seconds] / one.numbers[seconds]:.2f}x" if slug in titles else ""
        accuracies = [_spread(found, quantity) for quantity in ("kNN accuracy", "linear accuracy")]
        rows.append(f"| {name} | {' | '.join(accuracies)} | {cost} | {len(found.tables['seeds'].rows)} |")
    return [
        f"`python -m benchmarks.methods_table`: {budget['train samples']} samples of {budget['data']};",
        f"{budget['network']}, {budget['epochs']} epochs, batch {budget['batch']}, {budget['numerics']}.",
        f"Probes: {budget['probes']}. Means and standard deviations over seeds.",
        "Each method runs its recipe's own views, head, learning rate and momentum. Of these, BYOL's head and momentum",
        "and SwAV's learning rate were chosen on seed 0 of this budget, where both had stood at the untrained control.",
        "It is short: methods that learn slowly at first, those with a teacher above all, stand higher in long runs.",
        "MCL's features are those of its stages' three encoders together, three times as wide as the others'.",
        "The cost is processor time of training over SimCLR's, the recipe's own number of views included.",
        "",
        "| method | kNN | linear | cost of a run | seeds |",
        "|---|---|---|---|---|",
        *rows,
    ]


def _steps(stored: dict[str, Any]) -> list[str]:
    rows = []
    for name, ratio in stored["ratio"].items():
        needed = stored["needed"][name]
        rows.append(f"| {name} | {ratio:.2f}x | {needed:.2f}x | {ratio / needed:.2f}x | {stored['why'][name]} |")
    return [
        f"`python -m benchmarks.joint_embedding`: {stored['work']}, two views of 32 x 32, ResNet-10.",
        "What a method needs are its passes through the encoder over SimCLR's, a backward pass counting as two forward",
        "ones.",
        "",
        "| method | measured | needed | measured over needed | why |",
        "|---|---|---|---|---|",
        *rows,
    ]


def _loops(stored: dict[str, dict[str, Any]]) -> list[str]:
    rows = []
    for work, line in stored.items():
        peers = " | ".join(f"{line['peers'][f'lightly, {workers} workers']:,.0f}" for workers in (0, 2))
        rows.append(f"| {work} | {line['ours']:,.0f} | {peers} | {line['ratio to lightly']:.2f}x |")
    return [
        "`python -m benchmarks.lightly_loops`: pictures a second, all their views included; same network, heads, batch",
        "of 256, views and number of crops. The ratio is to the better of 0 and 2 workers.",
        "",
        "| method | ours | lightly, 0 workers | lightly, 2 workers | ratio |",
        "|---|---|---|---|---|",
        *rows,
    ]


def _attacks(stored: dict[str, dict[str, Any]]) -> list[str]:
    return [
        "`python -m benchmarks.autoattack OUT --fast --prove crown --threads 1`, with --cases and --pictures as each",
        "row says: processor time over the official code's (pyautoattack), and the robust accuracy that is left. Ours",
        "takes every step as published. What is proven first, by CROWN, is not attacked: no attack could break",
        "it. `--search fast` has shortcuts, whose limits were chosen on these networks by `python -m",
        "benchmarks.giving_up`. torchattacks takes 10 steps in its gradient attacks as it comes; the paper and the",
        "official code take 100.",
        "",
        "| work | official | ours | ours, after proofs | ours, fast | torchattacks | torchattacks, 100 steps |",
        "|---|---|---|---|---|---|---|",
        *(_attack_row(work, line) for work, line in stored.items()),
    ]


def _attack_row(work: str, line: dict[str, Any]) -> str:
    robust, ratios = line["robust accuracy"], line["ratio of processor time"]
    shares = {"ours": ratios["pyautoattack"]} | {side: ratios["pyautoattack"] / value for side, value in ratios.items()}
    cells = [
        f"{shares[side]:.2f}x; {robust[side]:.1%}" if side in shares else ""
        for side in ("ours", "ours, what is proven left alone", "ours, fast", "torchattacks", "torchattacks, 100 steps")
    ]
    return f"| {work} | {robust['pyautoattack']:.1%} | {' | '.join(cells)} |"


def _nearest(stored: list[dict[str, Any]]) -> list[str]:
    """Return a table for each norm: attacks by networks, the best on average first."""
    lines = [
        f"`python -m benchmarks.minimal_norm`, after AttackBench: local optimality at {stored[0]['budget']:,} passes a",
        "picture, forward and backward ones counted alike. 1 says that no attack here found a nearer point for any",
        "picture that is right when clean. A dash stands where an attack took clearly more passes, or too long,",
        "or was not run. Peers are adv-lib, foolbox, torchattacks and ART, each attack at its library's settings.",
    ]
    for norm in dict.fromkeys(line["norm"] for line in stored):
        some = [line for line in stored if line["norm"] == norm]
        nets = list(dict.fromkeys((line["net"], line["pictures"]) for line in some))
        found: dict[str, dict[str, float | None]] = {}
        for line in some:
            found.setdefault(line["attack"], {})[line["net"]] = line["optimality"]
        heads = " | ".join(f"{net}, {pictures} pictures" for net, pictures in nets)
        lines += ["", f"| {norm.capitalize()} | {heads} |", "|---|" + "---|" * len(nets)]
        for attack in sorted(found, key=lambda name: -sum(value or 0 for value in found[name].values())):
            cells = [found[attack].get(net) for net, _ in nets]
            lines.append(f"| {attack} | {' | '.join('-' if cell is None else f'{cell:.3f}' for cell in cells)} |")
    return lines


def _peers(stored: dict[str, dict[str, Any]]) -> list[str]:
    rows = [
        f"| {work} | {_rate(line['ours'])} | {peer} | {_rate(rate)} | {line['ratio'][peer]:.1f}x |"
        for work, line in stored.items()
        for peer, rate in line["peers"].items()
    ]
    return [
        "`python -m benchmarks.scattering` and `python -m benchmarks.t_jepa --peer CHECKOUT`, on a GPU with --device",
        "cuda, `python -m benchmarks.graphmae --authors CHECKOUT`, and `python -m benchmarks.tables` and",
        "`python -m benchmarks.embedding`: pictures, rows of a table, nodes, or epochs a second, in one run with the",
        "other code, at the same sizes. Scattering's rates on the H200 are from printed times of one or two digits.",
        "Ours looks at each field of a table, pandas does not.",
        "",
        "| work | ours | other code | its rate | ratio |",
        "|---|---|---|---|---|",
        *rows,
    ]


def _rate(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.2f}"


def _spread(finding: Finding, name: str) -> str:
    measure = finding.figures[name]
    return f"{measure.value:.3f}" + ("" if measure.spread is None else f" ± {measure.spread:.3f}")


def _last(name: str) -> dict[str, dict[str, Any]]:
    """Return the last stored line of each work."""
    return {line["work"]: line for line in _stored(name)}


def _stored(name: str) -> list[dict[str, Any]]:
    path = STORED / name
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.is_file() else []


if __name__ == "__main__":
    (DOCS / "benchmarks.md").write_text(page(), encoding="utf-8")
