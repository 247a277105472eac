"""Write docs/dependencies.md: what the library and each extra bring into an environment.

python tools/dependencies_page.py

Run it where every extra and lightly are installed (`make bench` makes such an environment, but for video, raw and
tensorboard).
"""

import re
import sys
import tomllib
from importlib.metadata import Distribution
from pathlib import Path

from bare_environment import closure, compared
from packaging.requirements import Requirement

from withstand.core.extras import NOT_FOR_USERS, USES

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "dependencies.md"


def declared() -> tuple[list[str], dict[str, list[str]]]:
    """Return what pyproject.toml requires, and what each extra for users does."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = {name: lines for name, lines in project["optional-dependencies"].items() if name not in NOT_FOR_USERS}
    return project["dependencies"], extras


def page() -> str:
    """Return the page's text."""
    core, extras = declared()
    torch = closure(["torch", "torchvision"])
    whole = closure(core)
    own = {name: one for name, one in whole.items() if name not in torch}
    lightly = closure(["lightly"]).keys() - torch.keys()
    cards = [name for name in torch if name.startswith(("nvidia-", "cuda-"))]
    lines = [
        "# What is installed with it",
        "",
        "Made by `python tools/dependencies_page.py` from the packages of one environment; other days resolve to other",
        "versions. Lower bounds alone are declared, and the lowest are tested (`make test-lowest`).",
        "",
        f"The library itself brings **{len(own)} packages** beside the {len(torch)} of torch and torchvision, of which "
        f"{len(cards)} are",
        f"CUDA libraries. lightly {lightly_version()} brings {len(lightly)}, itself included.",
        "",
        "## Core",
        "",
        *table(own, whole, {compared(Requirement(line).name) for line in core}),
        "",
        "## Extras",
        "",
        "| extra | what for | packages more | |",
        "|---|---|---|---|",
    ]
    for name, needed in sorted(extras.items()):
        more = sorted(closure([*core, *needed]).keys() - whole.keys())
        lines.append(f"| `{name}` | {USES[name][1]} | {len(more)} | {', '.join(more)} |")
    return "\n".join(lines) + "\n"


def lightly_version() -> str:
    """Return the version of lightly that is compared with."""
    return closure(["lightly"])["lightly"].version


def table(packages: dict[str, Distribution], whole: dict[str, Distribution], direct: set[str]) -> list[str]:
    """Return a table of packages, those that are asked for by name first; `whole` holds all that may ask for one."""
    lines = ["| package | version | licence | asked for by |", "|---|---|---|---|"]
    for name in sorted(packages, key=lambda name: (name not in direct, name)):
        askers = {
            f"{other}[{extra[1]}]" if (extra := re.search(r"extra == ['\"]([\w-]+)", line)) else other
            for other, one in whole.items()
            for line in one.requires or ()
            if compared(Requirement(line).name) == name
        }
        # An extra of another package is named where nothing asks for this one plainly: one of these was asked for.
        plain = sorted(asker for asker in askers if "[" not in asker)
        by = "withstand" if name in direct else ", ".join(plain or sorted(askers))
        lines.append(f"| {name} | {packages[name].version} | {licence(packages[name])} | {by} |")
    return lines


def licence(package: Distribution) -> str:
    """Return a package's licence as it says it: an expression, a classifier, or the first line of a text."""
    about = package.metadata
    if expression := about.get("License-Expression"):
        return str(expression)
    classified = [line.rpartition(" :: ")[2] for line in about.get_all("Classifier") or () if "License ::" in line]
    if classified:
        return ", ".join(classified)
    return re.sub(r"\s+", " ", (about.get("License") or "not said").splitlines()[0])


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    sys.stdout.write(f"{PAGE}\n")
