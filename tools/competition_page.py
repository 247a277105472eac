"""Write docs/competition.md from what `python -m benchmarks.competition docs/competition.jsonl` stored.

python tools/competition_page.py
"""

import json
from pathlib import Path
from statistics import median

DOCS = Path(__file__).parent.parent / "docs"
STORED = DOCS / "competition.jsonl"
NAMES = {
    "acasxu-1": "ACAS-Xu, property 1",
    "acasxu-2": "ACAS-Xu, property 2",
    "acasxu-3": "ACAS-Xu, property 3",
    "acasxu-4": "ACAS-Xu, property 4",
    "mnistfc-256x2": "mnistfc 256x2",
    "mnistfc-256x4": "mnistfc 256x4",
    "oval21": "oval21, base network",
    "resnet_2b": "ResNet 2b, boxes of 2/255",
    "resnet_4b": "ResNet 4b, boxes of 1/255",
}
Record = dict[str, object]


def main() -> None:
    """Write the page."""
    latest: dict[object, Record] = {}
    for line in STORED.read_text(encoding="utf-8").splitlines():
        record: Record = json.loads(line)
        # What timed out and was tried again counts as it ended.
        latest[record["instance"]] = record
    records = list(latest.values())
    limits, threads = ({record[name] for record in records} for name in ("limit", "threads"))
    versions = sorted({f"{name} {version}" for record in records for name, version in record["versions"].items()})  # type: ignore[attr-defined]
    shown = [record for record in records if record["answer"] == "sat"]
    against = [record for record in records if _outvoted(record)]
    told = [record for record in records if any(record["others"].values())]  # type: ignore[attr-defined]
    lines = [
        "# Competition instances",
        "",
        "Networks and properties of the verification competition (VNN-COMP 2021), answered as by",
        "`withstand certify FILE.onnx --vnnlib FILE.vnnlib`: `unsat` is a proof, `sat` a counterexample, `timeout` is",
        "neither.",
        "Made by `python tools/competition_page.py` from [competition.jsonl](competition.jsonl), which",
        "`python -m benchmarks.competition docs/competition.jsonl` writes, a line an instance, and goes on with.",
        "",
        f"Limit {_list(limits)} s of processor time for each instance, {_list(threads)} thread, no accelerator;",
        f"{', '.join(versions)}. Seconds are processor time too, reading the files included.",
        "The ResNets come without properties: boxes are round the first test pictures of CIFAR-10 that they get right.",
        "",
        "| family | instances | unsat | sat | timeout | solved | median s | longest s |",
        "|---|---|---|---|---|---|---|---|",
        *[_row(label, [record for record in records if record["family"] == name]) for name, label in NAMES.items()],
        _row("all", records),
        "",
        f"- {sum(bool(record['shown to onnxruntime']) for record in shown)} of {len(shown)} counterexamples are ones "
        "for onnxruntime too, on the network's own file.",
        f"- {len(told)} of the instances were also answered by tools of that competition; {len(against)} of "
        "the answers here are contradicted by more of them than agree. Single tools contradict all others at times.",
        f"- Left open here though several tools broke them: {_missed(records)}.",
        "",
        "## Every instance",
        "",
        "| instance | answer | seconds | sub-problems | other tools: sat | unsat |",
        "|---|---|---|---|---|---|",
        *[_instance(record) for name in NAMES for record in records if record["family"] == name],
    ]
    (DOCS / "competition.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _outvoted(record: Record) -> bool:
    others: dict[str, int] = record["others"]  # type: ignore[assignment]
    rival = {"sat": "unsat", "unsat": "sat"}.get(str(record["answer"]))
    return rival is not None and others[rival] > others[str(record["answer"])]


def _missed(records: list[Record]) -> int:
    left = [record["others"] for record in records if record["answer"] == "timeout"]
    return sum(others["sat"] > max(1, others["unsat"]) for others in left)  # type: ignore[index]


def _row(label: str, records: list[Record]) -> str:
    counts = {answer: sum(record["answer"] == answer for record in records) for answer in ("unsat", "sat", "timeout")}
    seconds = [float(str(record["processor seconds"])) for record in records]
    solved = (counts["unsat"] + counts["sat"]) / max(1, len(records))
    spent = f"{median(seconds):.1f} | {max(seconds):.1f}" if seconds else " | "
    return f"| {label} | {len(records)} | {' | '.join(map(str, counts.values()))} | {solved:.0%} | {spent} |"


def _instance(record: Record) -> str:
    others: dict[str, int] = record["others"]  # type: ignore[assignment]
    cells = [record["instance"], record["answer"], record["processor seconds"], record["steps"]]
    return f"| {' | '.join(map(str, [*cells, others['sat'], others['unsat']]))} |"


def _list(values: set[object]) -> str:
    return " or ".join(f"{value:g}" if isinstance(value, float) else str(value) for value in sorted(values, key=str))


if __name__ == "__main__":
    main()
