"""Ratings: learn who likes what, and recommend, new items too.

python examples/ratings.py
"""

from pathlib import Path

import numpy as np
import pandas as pd

import withstand as ws
from withstand.methods.items.item_ssl import ItemSSL

GENRES = ("comedy", "drama", "crime", "space")


def cinema(folder: Path, users: int = 60, films: int = 40, seed: int = 0) -> tuple[Path, Path]:
    """Write made-up ratings, in which everyone has a genre that they like, and the films."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    genre = rng.integers(0, len(GENRES), films)
    rows = [
        (user, film, 1_700_000_000 + 60 * place)
        for user in range(users)
        for place, film in enumerate(rng.permutation(films)[: films // 2])
        if genre[film] == user % len(GENRES) or rng.random() < 0.1
    ]
    pd.DataFrame(rows, columns=["user", "film", "time"]).to_csv(folder / "ratings.csv", index=False)
    listed = {"film": range(films), "title": [f"Film {k}" for k in range(films)], "genre": [GENRES[k] for k in genre]}
    pd.DataFrame(listed).to_csv(folder / "films.csv", index=False)
    return folder / "ratings.csv", folder / "films.csv"


def main(out: Path = Path("runs/films"), epochs: int = 20) -> list[tuple[str, ...]]:
    """Learn, judge, and return three films for each of two users."""
    ratings, films = cinema(out.parent / "cinema")
    told = {"items": str(films), "item": "film", "batch": 32}
    run = ws.train("item-ssl", str(ratings), out=out, epochs=epochs, options=told)
    for finding in run.probe():
        print(finding)
    method = run.method
    if not isinstance(method, ItemSSL):
        raise TypeError("this run recommends nothing")
    return method.recommend(["0", "1"], k=3)


if __name__ == "__main__":
    print(main())
