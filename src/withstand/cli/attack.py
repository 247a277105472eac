"""attack: attack a run's encoder or any network, and keep the attacked inputs."""

from pathlib import Path
from typing import Literal

from withstand.cli.network import folder_of, is_network, normalization, refuse_for_runs
from withstand.cli.reply import Reply
from withstand.core.errors import ConfigError, DataError
from withstand.core.options import Device


def run_attack(
    run: Path,
    *,
    data: str | None = None,
    attack: str = "pgd",
    norm: Literal["linf", "l2", "l1"] = "linf",
    eps: str = "8/255",
    steps: int | None = None,
    restarts: int | None = None,
    samples: int = 64,
    low: float | None = None,
    high: float | None = None,
    normalize: tuple[str, ...] = (),
    seed: int = 0,
    out: Path | None = None,
    device: Device = "auto",
    allow: tuple[str, ...] = (),
) -> Reply:
    """Attack a run's encoder, or any network, and keep the attacked inputs.

    Args:
        run: a run folder; or a network: FILE.onnx, FILE.safetensors with its FILE.json, FILE.py:NAME or MODULE:NAME
        attack: fgsm, bim, pgd, mi-fgsm, di-mi-fgsm, ti-mi-fgsm, apgd, apgd-dlr, apgd-t, fab, fab-t, square, deepfool or
            noise
        norm: how the size of a change is measured
        eps: the largest change, in input units or as a share of the input range like 8/255
        steps: gradient steps, or queries; the attack's own number if not said
        restarts: independent tries for each sample; the attack's own number if not said
        samples: how many test samples
        out: the .npz file; if not said, adversarial.npz in the run folder, or adversarial-NAME.npz for a network
    """
    import numpy as np

    from withstand.core.files import replacing

    network = is_network(run)
    path = out or (folder_of("adversarial", run).with_suffix(".npz") if network else run / "adversarial.npz")
    if path.suffix != ".npz":
        raise DataError(f"--out must name an .npz file, not {str(path)!r}")
    if network:
        from withstand.api.front import attack as attack_network

        if data is None:
            raise ConfigError("a network that is no run needs --data: on what shall it be attacked?")
        attacked, batch = attack_network(
            str(run), data, attack=attack, norm=norm, eps=eps, samples=samples, steps=steps, restarts=restarts,
            seed=seed, low=low, high=high, normalize=normalization(normalize), device=device, allow=allow,
        )  # fmt: skip
    else:
        from withstand.api.front import open_run

        refuse_for_runs(low=low, high=high, normalize=normalize)
        attacked, batch = open_run(run, allow=allow, device=device).attack(
            data, attack=attack, norm=norm, eps=eps, samples=samples, steps=steps, restarts=restarts, seed=seed
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays = {name: getattr(attacked, name).numpy() for name in ("success", "norm", "loss")}
    with replacing(path) as aside, aside.open("wb") as file:
        np.savez_compressed(
            file, x=batch.x.numpy(), adversarial=attacked.x.numpy(), index=batch.index.numpy(), **arrays
        )
    share = attacked.success.float().mean().item()
    count = f"{len(batch)}" if len(batch) == samples else f"{len(batch)} ({samples} were asked for)"
    if batch.y is None:
        moved = attacked.loss.mean().item()
        found = f"{count} embeddings moved by {moved:.3f} on average (1 - cosine), {share:.1%} by more than 0.5"
    else:
        found = f"{share:.1%} of {count} predictions wrong"
    return Reply(
        f"{attack}, {norm} {eps}: {found}\nattacked inputs: {path}",
        {"path": str(path), "success": share, "samples": len(batch)},
    )
