"""Attacks that were learnt, from a run folder or a file of weights."""

from collections.abc import Sequence
from pathlib import Path

from withstand.api.places import as_learnt, attack_from_weights
from withstand.api.run_parts import RunParts
from withstand.attacks.attack import InputAttack
from withstand.core.errors import ConfigError


def learnt_attack(place: str | Path, allow: Sequence[str] = ()) -> InputAttack | None:
    """Return the attack that was learnt and lies in a run folder or a `FILE.safetensors`; None for any other word.

    Raises:
        ConfigError: there is none in it.
        DataError: the file does not fit its description.
    """
    if Path(place).is_dir():
        return as_learnt(RunParts(place, allow=allow).method.product("attack"), place)
    return attack_from_weights(Path(place), allow) if str(place).endswith(".safetensors") else None


def learnt_for_audit(attack: str | Path | InputAttack, allow: Sequence[str] = ()) -> InputAttack:
    """Return the attack that was learnt and that an audit is to include.

    Raises:
        ConfigError: the word names none.
    """
    found = attack if isinstance(attack, InputAttack) else learnt_attack(attack, allow)
    if found is None:
        raise ConfigError(f"attack {str(attack)!r} is neither a run folder nor a FILE.safetensors that holds an attack")
    return found
