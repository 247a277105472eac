"""Photos without labels: learn from them, find a photo's neighbours, keep the features, write the report.

python examples/photos.py [FOLDER_OR_SET]
"""

import sys
from pathlib import Path

import numpy as np
from sklearn.neighbors import NearestNeighbors

import withstand as ws


def main(data: str = "fashion-mnist-small", out: Path = Path("runs/photos"), epochs: int = 6) -> Path:
    """Learn, and return the report's path."""
    run = ws.train("simclr", data, out=out, epochs=epochs)
    features = run.embed()  # every photo of the folder, in the order of its files
    finder = NearestNeighbors(n_neighbors=4, metric="cosine").fit(features.x.numpy())
    near = finder.kneighbors(features.x[:1].numpy(), return_distance=False)[0]
    named = features.names or features.index.tolist()
    print(f"nearest to {named[0]}: {', '.join(str(named[row]) for row in near[1:])}")
    np.savez(out / "features.npz", x=features.x.numpy(), index=features.index.numpy())
    if features.y is not None:  # labels, where there are some, only judge
        for finding in run.probe():
            print(finding)
    return run.report()


if __name__ == "__main__":
    print(main(*sys.argv[1:2]))
