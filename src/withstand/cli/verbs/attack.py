"""attack: attack a run's encoder or any network, and keep the attacked inputs."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from withstand.api.settings import Inputs, LabelTable, NamedAttack
from withstand.cli.network import folder_of, is_network, refuse_for_runs
from withstand.cli.reply import Reply
from withstand.core.errors import ConfigError, DataError
from withstand.core.options import Device
from withstand.core.part import Tree
from withstand.core.roles import Attacked

if TYPE_CHECKING:
    from withstand.evaluation.robustness.attacked import Aimed


def run_attack(
    run: Path,
    *,
    data: str | None = None,
    target: str | None = None,
    asked: NamedAttack = NamedAttack(),  # noqa: B008 - a frozen value
    inputs: Inputs = Inputs(),  # noqa: B008 - a frozen value
    table: LabelTable = LabelTable(),  # noqa: B008 - a frozen value
    out: Path | None = None,
    device: Device = "auto",
    allow: tuple[str, ...] = (),
) -> Reply:
    """Attack a run's encoder, or any network, and keep the attacked inputs.

    Args:
        run: a run folder; or a network: FILE.onnx, FILE.safetensors with its FILE.json, FILE.py:NAME, MODULE:NAME
            or timm:NAME
        target: a picture's file, or other data of one sample: lead the samples towards it, as the run's encoder sees
            them, in place of away from themselves or their labels
        out: the .npz file; if not said, adversarial.npz in the run folder, or adversarial-NAME.npz for a network. Rows
            of a table are written beside it as .csv, in the table's units
    """
    import numpy as np

    from withstand.api.written.attacked_rows import attacked_rows, write_rows
    from withstand.attacks.named import ANY
    from withstand.core.files import replacing
    from withstand.core.victims.scale import Scale

    network, rows, usual, aimed = is_network(run), None, Scale().headline, None
    path = out or (folder_of("adversarial", run).with_suffix(".npz") if network else run / "adversarial.npz")
    if path.suffix != ".npz":
        raise DataError(
            f"--out must name an .npz file, not {str(path)!r}; rows of a table are also written beside it, as .csv"
        )
    if network:
        table.refuse_for_networks()
        if target is not None:
            raise ConfigError("--target is for runs, whose encoder tells what is like it: name a run folder")
        from withstand.api.networks import attack as attack_network

        if data is None:
            raise ConfigError("a network that is no run needs --data: on what shall it be attacked?")
        attacked, batch = attack_network(str(run), data, asked, inputs, device=device, allow=allow)
    else:
        from withstand.api.front import open_run

        refuse_for_runs(inputs)
        opened = open_run(run, allow=allow, device=device, labels=table.labels, label_column=table.label_column)
        if target is not None:
            aimed = opened.aim(target, data, asked)
            attacked, batch = aimed.attacked, aimed.batch
        else:
            attacked, batch = opened.attack(data, asked)
        test = (opened.judged if target is None else opened.sources)(data)[1]
        rows, usual = attacked_rows(test, attacked, batch), Scale(levels=test.levels).headline
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays = {name: getattr(attacked, name).numpy() for name in ("success", "norm", "loss")}
    if batch.y is not None:
        arrays["y"] = batch.y.numpy()
    if aimed is not None:
        arrays["target"] = aimed.target.numpy()
    with replacing(path) as aside, aside.open("wb") as file:
        np.savez_compressed(
            file, x=batch.x.numpy(), adversarial=attacked.x.numpy(), index=batch.index.numpy(), **arrays
        )
    told = ""
    if rows is not None:
        write_rows(rows, path.with_suffix(".csv"))
        told = f"\nattacked rows, in the table's units: {path.with_suffix('.csv')}"
    share = attacked.success.float().mean().item()
    count = f"{len(batch)}" if len(batch) == asked.samples else f"{len(batch)} ({asked.samples} were asked for)"
    facts: dict[str, Tree] = {"path": str(path), "success": share, "samples": len(batch)}
    if aimed is not None:
        found, near = _aimed(aimed, count, target)
        facts |= near
    elif batch.y is None:
        moved = attacked.loss.mean().item()
        found = f"{count} embeddings moved by {moved:.3f} on average (1 - cosine), {share:.1%} by more than 0.5"
    else:
        found = f"{share:.1%} of {count} predictions wrong"
    if asked.eps == ANY:
        found = f"{found}\n{_distances(attacked)}"
    return Reply(
        f"{asked.attack}, {_within(asked, usual)}: {found}\nattacked inputs: {path}{told}",
        facts,
    )


def _aimed(aimed: "Aimed", count: str, target: str | None) -> tuple[str, dict[str, Tree]]:
    """Return how near samples came to a target, beside the clean ones and noise of the same size."""
    near = {name: float(one.mean()) for name, one in aimed.cosine.items()}
    taken = {name: int(one.sum()) for name, one in aimed.taken.items()}
    beside = ("clean", "noise")
    found = (
        f"{taken['attacked']} of {count} taken for {target}, nearer to it than to any clean one "
        f"({', '.join(f'{name} {taken[name]}' for name in beside)}); mean cosine to it {near['attacked']:.3f} "
        f"({', '.join(f'{name} {near[name]:.3f}' for name in beside)})"
    )
    return found, {"cosine": {**near}, "taken": {**taken}}


def _distances(attacked: Attacked) -> str:
    """Return how many samples are still right up to which distance, in words."""
    from withstand.evaluation.robustness.distances import distance_of, still_right_at

    distance = distance_of(attacked)
    radii = [(share, still_right_at(distance, share)) for share in (0.75, 0.5, 0.25, 0.0)]
    said = [f"{share:.0%} from {radius:.4g} on" for share, radius in radii if radius < math.inf]
    never = f"; no point was found for {int(distance.isinf().sum())}" if bool(distance.isinf().any()) else ""
    return f"still right, at most: {', '.join(said) or 'any share'}{never}"


def _within(asked: NamedAttack, usual: str) -> str:
    """Return in what an attack was sought: the ball in words, of the usual radius or another; a learnt attack's own."""
    from withstand.attacks.named import Name, own_norm
    from withstand.core.findings.norms import norms

    if asked.attack in get_args(Name):
        return f"{norms(asked.norm or own_norm(asked.attack))} {usual if asked.eps is None else asked.eps}"
    said = " ".join(str(word) for word in (asked.norm, asked.eps) if word is not None)
    return f"within {norms(said)}" if said else "within what it was learnt in"
