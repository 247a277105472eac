"""Check that a wheel holds the package as it lies in src, with py.typed, and nothing besides.

python tools/wheel_content.py WHEEL
"""

import sys
import zipfile
from pathlib import Path

SRC = Path(__file__).parent.parent / "src"


def content(wheel: Path) -> set[str]:
    """Return the names of a wheel's files but for those that describe it."""
    with zipfile.ZipFile(wheel) as packed:
        names = set(packed.namelist())
    return {name for name in names if ".dist-info/" not in name}


def main(wheel: Path) -> int:
    """Compare the wheel with the package, and say how they differ."""
    files = (path for path in (SRC / "withstand").rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    expected = {path.relative_to(SRC).as_posix() for path in files}
    found = content(wheel)
    wrong = [f"lacks {name}" for name in sorted(expected - found)] + [
        f"has {name}" for name in sorted(found - expected)
    ]
    if "withstand/py.typed" not in found:
        wrong.append("has no py.typed")
    size = wheel.stat().st_size / 2**20
    sys.stdout.write(f"{wheel.name}: {len(found)} files, {size:.1f} MiB\n" + "".join(f"  {line}\n" for line in wrong))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
