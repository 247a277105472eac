"""Judge every stored claim anew from its seeds, by the rule of today; what changed says what it was before.

python tools/rejudge_claims.py
"""

import sys
from pathlib import Path

from withstand.claims.protocol.compare import judged_again
from withstand.core.findings.finding import Finding

CLAIMS = Path(__file__).parent.parent / "docs" / "claims"


def main() -> None:
    """Write the findings again, and say which verdicts changed."""
    for path in sorted(CLAIMS.glob("claim-*.json")):
        before = Finding.load(path)
        after = judged_again(before)
        after.save(CLAIMS)
        if after.protocol["verdict"] != before.protocol["verdict"]:
            sys.stdout.write(f"{path.stem}: {before.protocol['verdict']} -> {after.protocol['verdict']}\n")


if __name__ == "__main__":
    main()
