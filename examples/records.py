"""Two dirty tables of the same things: which rows mean the same, and one merged table.

python examples/records.py
"""

from pathlib import Path

import pandas as pd

import withstand as ws
from withstand.api.matching import Matched

MAKERS, KINDS = ("Aalto", "Bolt", "Cirrus", "Delphi", "Ember"), ("kettle", "lamp", "radio", "scale", "fan", "clock")


def shops() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return two shops' lists of the same products, the second with words dropped and letters changed."""
    names = [f"{maker} {kind} model {10 * a + b}" for a, maker in enumerate(MAKERS) for b, kind in enumerate(KINDS)]
    prices = [f"{20 + 3 * place}.90" for place in range(len(names))]
    other = [name.replace("model ", "").replace("tt", "t", place % 2) for place, name in enumerate(names)]
    first = pd.DataFrame({"id": [f"a{k}" for k in range(len(names))], "name": names, "price": prices})
    second = pd.DataFrame({"id": [f"b{k}" for k in range(len(names))], "name": other, "price": prices})
    return first, second.sample(frac=1, random_state=0)


def main(out: Path = Path("matched"), epochs: int | None = None) -> Matched:
    """Learn a matcher without labels, merge, and return what was found."""
    found = ws.match(*shops(), id="id", out=out, epochs=epochs)
    print(found)
    return found


if __name__ == "__main__":
    main()
