"""Make an environment that holds a wheel and what it requires, without any extra.

python tools/bare_environment.py [--lowest] [--download] FOLDER WHEEL [NAME ...]

Packages are linked from the environment that runs this, which takes seconds and no network; NAMEs are further ones to
link, as pytest. pip installs the wheel, and checks that every requirement is met. Nothing else can be imported there:
what works without extras is told from what merely happens to be installed.

With --lowest, pip installs the lowest version that the wheel allows of everything but torch and torchvision, which are
gigabytes; with --download of these too, and nothing but NAMEs is linked.
"""

import argparse
import re
import subprocess
import sys
import sysconfig
import venv
from collections import defaultdict
from importlib.metadata import Distribution, distribution, distributions
from pathlib import Path, PurePosixPath

from packaging.requirements import Requirement

LARGE = ("torch", "torchvision", "lightning-fabric")
"""Packages that are torch, or bring it."""


def main() -> None:
    """Read the command line, and make the environment."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--lowest", action="store_true")
    parser.add_argument("--download", action="store_true")
    parser.add_argument("folder", type=Path)
    parser.add_argument("wheel", type=Path)
    parser.add_argument("names", nargs="*")
    asked = parser.parse_args()
    folder, wheel = asked.folder.resolve(), asked.wheel.resolve()
    venv.EnvBuilder(symlinks=True, with_pip=False, clear=True).create(folder)
    pip = [
        sys.executable,
        "-m",
        "pip",
        "--quiet",
        "--disable-pip-version-check",
        "--python",
        str(folder / "bin/python"),
    ]
    subprocess.run([*pip, "install", "--no-deps", "--no-index", str(wheel)], check=True)
    there = next(folder.glob("lib/python3*/site-packages"))
    needed = Distribution.at(next(there.glob("withstand-*.dist-info"))).requires or ()
    # pip comes first: it must never change, through a link, what is linked.
    plain = [line for line in needed if Requirement(line).marker is None]
    if asked.lowest:
        small = [lowest(line) for line in plain if asked.download or Requirement(line).name not in LARGE]
        subprocess.run([*pip, "install", *small], check=True)
        if not asked.download:
            fabric = [lowest(line) for line in plain if Requirement(line).name == "lightning-fabric"]
            subprocess.run([*pip, "install", "--no-deps", *fabric], check=True)
    elif asked.download:
        subprocess.run([*pip, "install", *plain], check=True)
    link([*plain, *asked.names], there)
    subprocess.run([*pip, "check"], check=True)
    versions = {compared(one.name): one.version for one in distributions(path=[str(there)])}
    told = (compared(Requirement(line).name) for line in plain)
    sys.stdout.write(
        f"{folder}: {len(versions) - 1} packages; " + ", ".join(f"{name} {versions[name]}" for name in told) + "\n"
    )


def lowest(line: str) -> str:
    """Return the requirement of the lowest version that another one allows.

    >>> lowest("numpy>=1.26")
    'numpy==1.26'
    """
    wanted = Requirement(line)
    bounds = [one.version for one in wanted.specifier if one.operator == ">="]
    if len(bounds) != 1:
        raise ValueError(f"{line} has no lower bound")
    return f"{wanted.name}=={bounds[0]}"


def link(requirements: list[str], there: Path) -> None:
    """Link what requirements ask for, and what these ask for, into an environment, but for what it has."""
    own = {compared(one.name): one for one in distributions(path=[str(there)])}
    wanted = closure(requirements, own)
    here = Path(sysconfig.get_path("purelib"))
    for path in links({name for name in wanted if name not in own}):
        (there / path).parent.mkdir(parents=True, exist_ok=True)
        (there / path).symlink_to(here / path)


def closure(requirements: list[str], own: dict[str, Distribution] | None = None) -> dict[str, Distribution]:
    """Return the packages that requirements ask for, and what these ask for, by their names.

    Args:
        requirements: as pip takes them.
        own: packages that stand in the place of those that are installed here, by their names.
    """
    found: dict[str, Distribution] = {}
    waiting = [(Requirement(line), "") for line in requirements]
    while waiting:
        needed, extra = waiting.pop()
        if needed.marker is not None and not needed.marker.evaluate({"extra": extra}):
            continue
        name = compared(needed.name)
        new = name not in found
        if new:
            found[name] = (own or {}).get(name) or distribution(name)
        for wanted in ("", *needed.extras) if new else needed.extras:
            waiting += [(Requirement(line), wanted) for line in found[name].requires or ()]
    return found


def compared(name: str) -> str:
    """Return a package's name as it is compared."""
    return re.sub(r"[-_.]+", "-", name).lower()


def links(wanted: set[str]) -> list[PurePosixPath]:
    """Return the paths below site-packages that hold the wanted packages and nothing of another one.

    A folder is one path where all in it is wanted; one that packages share with others is gone into.
    """
    owners: dict[PurePosixPath, set[str]] = defaultdict(set)
    files: list[PurePosixPath] = []
    for one in distributions():
        name = compared(one.name)
        for path in map(PurePosixPath, one.files or ()):
            if ".." in path.parts or "__pycache__" in path.parts:
                continue  # a script, or what importing makes again
            for above in (path, *path.parents):
                owners[above].add(name)
            if name in wanted:
                files.append(path)
    chosen: set[PurePosixPath] = set()
    for path in files:
        whole = [above for above in path.parents if above.parts and owners[above] <= wanted]
        chosen.add(whole[-1] if whole else path)
    return sorted(chosen)


if __name__ == "__main__":
    main()
