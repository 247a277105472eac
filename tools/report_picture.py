"""Make docs/report.png, a report's head and its section on attacks: python tools/report_picture.py RUN.

RUN is a run folder with a report, as `withstand demo` leaves it. Needs Chromium.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

OUT = Path(__file__).parent.parent / "docs" / "report.png"
WIDTH, HEAD, SECTION = 1120, 476, 1100
"""CSS pixels: of the page, of its head, and of what is shown of the section."""

# Browsers scroll to a section only where it is looked at: each part of the page is a window onto it.
PAGE = """<!doctype html><style>body {{ margin: 0 }} iframe {{ display: block; border: 0; width: {width}px }}</style>
<iframe src="{report}" style="height: {head}px"></iframe>
<iframe src="{report}#withstands" style="height: {section}px"></iframe>"""


def picture(report: Path, out: Path) -> Path:
    """Write the picture of a report.

    Raises:
        FileNotFoundError: there is no report, or no Chromium.
    """
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if browser is None or not report.is_file():
        raise FileNotFoundError(f"{report} is missing" if browser else "no chromium on the path")
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "page.html"
        page.write_text(PAGE.format(width=WIDTH, head=HEAD, section=SECTION, report=report.resolve().as_uri()))
        shot = Path(folder) / "shot.png"
        command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
        command += ["--allow-file-access-from-files", "--virtual-time-budget=30000", f"--screenshot={shot}"]
        command += [f"--window-size={WIDTH},{HEAD + SECTION}", f"--user-data-dir={folder}/profile", page.as_uri()]
        subprocess.run(command, check=True, capture_output=True, timeout=300)
        # Few colors make the file small; more would not be seen.
        Image.open(shot).convert("RGB").quantize(128).save(out, optimize=True)
    return out


if __name__ == "__main__":
    picture(Path(sys.argv[1]) / "report.html", OUT)
