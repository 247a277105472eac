"""Floor 4: one HTML page that tells what a run learnt and withstands."""

from withstand.report.render import render as render

__all__ = ["render"]
