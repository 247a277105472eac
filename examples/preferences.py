"""Preferences in words: a small language model learns from pairs of answers, and improves its own.

python examples/preferences.py
"""

import json
from pathlib import Path

import withstand as ws

TOPICS = ("a cat", "the sea", "two friends", "an old clock", "rain", "a garden", "the moon", "a small boat")


def pairs(path: Path) -> Path:
    """Write prompts with a chosen and a rejected answer each."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [
        {"prompt": f"Write about {topic}.", "chosen": f"Once there was {topic}.", "rejected": "No."} for topic in TOPICS
    ]
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return path


def main(out: Path = Path("runs/preferences"), epochs: int = 3) -> str:
    """Learn, answer, and return the answers as the files hold them."""
    # A random network of this architecture, to try; else a folder that transformers wrote, or a name of its hub.
    told = {"model": "tiny:llama", "tuning": "full", "batch": 4}
    run = ws.train("srpo", str(pairs(out.parent / "pairs.jsonl")), out=out, epochs=epochs, options=told)
    print(run.report())
    asked = out.parent / "prompts.jsonl"
    asked.write_text(json.dumps({"prompt": "Write about snow."}), encoding="utf-8")
    answers = run.apply_to(out.parent / "answers", str(asked), revisions=1, most=12).folder
    return "".join(path.read_text(encoding="utf-8") for path in sorted(answers.iterdir()))[:600]


if __name__ == "__main__":
    print(main())
