"""The authors' own code on a set of graphs, for the accuracies that `benchmarks.graphmae_accuracy` stands beside.

    python benchmarks/peers/graphmae.py CHECKOUT SET.npz [--name MUTAG] [--seeds 0 1 2] [--shuffle SEED]

Runs where the authors' code does, in an environment of its own: Python 3.11, torch 2.2, dgl 1.1, numpy 1, scikit-learn,
tqdm, pyyaml, ogb, tensorboardX. CHECKOUT is a clone of github.com/THUDM/GraphMAE at commit b14f080, branch main. Two
lines of it are put right for DGL of today: `copy_src` is called `copy_u`, and the graphs are read from SET.npz in
place of a download. --shuffle takes the graphs in another order, which draws other folds.
"""

import argparse
import os
import sys

import dgl
import dgl.function
import numpy as np
import torch


def graphs(path: str, shuffle: int | None) -> list:
    """Return (graph, label) of every graph, as DGL's TUDataset gives them."""
    held = np.load(path)
    member, edges, kinds, labels = held["graph_id"], held["edge_index"], held["node_label"], held["y"]
    classes = np.unique(labels, return_inverse=True)[1]
    order = np.arange(len(labels)) if shuffle is None else np.random.RandomState(shuffle).permutation(len(labels))
    found = []
    for number in order:
        nodes = np.flatnonzero(member == number)
        own = torch.from_numpy(edges[:, member[edges[0]] == number] - nodes[0]).long()
        graph = dgl.graph((own[0], own[1]), num_nodes=len(nodes))
        if kinds.size:
            graph.ndata["node_labels"] = torch.from_numpy(kinds[nodes]).long()[:, None]
        found.append((graph, torch.tensor([int(classes[number])])))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkout")
    parser.add_argument("path")
    parser.add_argument("--name", default="MUTAG")
    parser.add_argument("--seeds", nargs="+", default=["0", "1", "2"])
    parser.add_argument("--shuffle", type=int)
    arguments = parser.parse_args()
    found = graphs(os.path.abspath(arguments.path), arguments.shuffle)
    os.chdir(arguments.checkout)
    sys.path.insert(0, "")
    dgl.function.copy_src = dgl.function.copy_u
    import graphmae.datasets.data_util as data
    from graphmae.utils import build_args, load_best_configs

    data.TUDataset = lambda name: found
    import main_graph

    # What scripts/run_graph.sh says; the set's own settings come from configs.yml.
    sys.argv = (
        f"main_graph.py --device -1 --dataset {arguments.name} --encoder gin --decoder gin --in_drop 0.2 "
        "--attn_drop 0.1 --num_heads 2 --weight_decay 0.0 --activation prelu --optimizer adam --loss_fn sce "
        f"--linear_prob --use_cfg --max_epoch_f 0 --seeds {' '.join(arguments.seeds)}"
    ).split()
    main_graph.main(load_best_configs(build_args(), "configs.yml"))


if __name__ == "__main__":
    main()
