"""The process in which z3 runs: questions come as lines of JSON, answers go back so. It imports nothing but z3.

z3's own time-outs are not always kept; a process can be ended.
"""

import json
import sys


def main() -> None:
    """Answer until the input ends: `{"text", "inputs", "milliseconds"}` to `{"status", "values", "reason"}`."""
    import z3

    for line in sys.stdin:
        question = json.loads(line)
        context = z3.Context()
        solver = z3.SolverFor("QF_LRA", ctx=context)
        solver.set("timeout", question["milliseconds"])
        solver.from_string(question["text"])
        status = str(solver.check())
        values: list[str] = []
        if status == "sat":
            model = solver.model()
            for name in question["inputs"]:
                found = model.eval(z3.Real(name, ctx=context), model_completion=True).as_fraction()
                values.append(f"{found.numerator}/{found.denominator}")
        reason = solver.reason_unknown() if status == "unknown" else ""
        sys.stdout.write(json.dumps({"status": status, "values": values, "reason": reason}) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
