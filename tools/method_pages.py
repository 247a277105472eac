"""Write docs/methods/ from the recipes' headers, their options, and the findings of their claims.

python tools/method_pages.py
"""

import inspect
from pathlib import Path

from claims_page import effect_of

from withstand.claims.protocol.reproduction import has_claim
from withstand.core.findings.finding import Finding
from withstand.core.options import options_of
from withstand.recipes.catalogue import TAXONOMY, Entry, entries

DOCS = Path(__file__).parent.parent / "docs"
FACTS = ("paper", "claims", "learns from", *TAXONOMY, "use it when", "not for", "longer runs", "differences")


def pages() -> dict[str, str]:
    """Return the text of each page by its path below docs/."""
    found = {f"methods/{entry.slug}.md": _page(entry) for entry in entries()}
    rows = [f"| [{entry.slug}](methods/{entry.slug}.md) | {entry.title} |" for entry in entries()]
    head = ["# Methods", "", "Made by `python tools/method_pages.py` from the recipes; `withstand find WORDS` searches"]
    text = [*head, "them.", "", "| method | what it does |", "|---|---|", *rows]
    return {"methods.md": "\n".join(text) + "\n", **found}


def main() -> None:
    """Write the pages, and remove those of methods that are gone."""
    made = pages()
    (DOCS / "methods").mkdir(exist_ok=True)
    for path in (DOCS / "methods").glob("*.md"):
        if f"methods/{path.name}" not in made:
            path.unlink()
    for name, text in made.items():
        (DOCS / name).write_text(text, encoding="utf-8")


def _page(entry: Entry) -> str:
    name, _, what = entry.title.partition(": ")
    lines = [f"# {name.rstrip('.')}", "", *([f"{what[:1].upper()}{what[1:]}", ""] if what else [])]
    lines += [f"**{fact}**: {entry.facts[fact]}  " for fact in FACTS if fact in entry.facts]
    module = entry.module()
    if hasattr(module, "experiment"):
        lines += ["", "```", entry.facts.get("command", f"withstand train {entry.slug}"), "```", "", "## Settings", ""]
        lines += ["| option | what it is |", "|---|---|"]
        for option in options_of(module.experiment):
            told = (option.text or "").replace("|", "/").rstrip(".")
            default = "" if option.default in (None, inspect.Parameter.empty) else f" (default: `{option.default}`)"
            lines.append(f"| `--{option.name.replace('_', '-')}` | {told}{default} |")
        lines += ["", "Any deeper setting: `--set method.NAME=VALUE`."]
    if has_claim(entry):
        lines += ["", "## Claim", "", *_claim(entry)]
    return "\n".join(lines).rstrip() + "\n"


def _claim(entry: Entry) -> list[str]:
    command = f"`withstand reproduce {entry.slug}`"
    path = DOCS / "claims" / f"claim-{entry.slug}.json"
    if not path.is_file():
        return [f"{command} puts the paper's claim to the test. It has not been run whole yet."]
    finding = Finding.load(path)
    measured = [
        f"- {name}: {measure.value:.3f} ± {measure.spread:.3f}"
        for name, measure in finding.figures.items()
        if measure.spread is not None
    ]
    measured.append(f"- effect: {effect_of(finding)}")
    seeds, statement = len(finding.tables["seeds"].rows), str(finding.protocol["statement"])
    return [
        f"{statement[:1].upper()}{statement[1:]}: **{finding.protocol['verdict']}** ({seeds} seeds, {command}).",
        "",
        *measured,
        "",
        "Every table is in [claims](../claims.md).",
    ]


if __name__ == "__main__":
    main()
