"""Pages in a headless Chromium: what a script that runs behind the page's own finds."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pathlib import Path

#: Collects errors, from before the page's own scripts on.
_FIRST = "<script>const failures = []; addEventListener('error', event => failures.push(event.message));</script>"
_LAST = """
<script>
addEventListener("load", () => setTimeout(() => {
  let found = null;
  try { found = (() => { %s })(); } catch (error) { failures.push(String(error)); }
  const out = document.createElement("pre");
  out.id = "found";
  out.textContent = JSON.stringify({ found, failures });
  document.body.append(out);
}, 200));
</script>
</body>
"""


def chromium() -> str:
    """The browser, or skip the test."""
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        pytest.skip("no Chromium (Debian: apt-get install chromium)")
    return found


def run(page: Path, script: str, width: int = 1280, height: int = 800) -> Any:
    """The value that ``script``, the body of a function, returns in the page; errors of any script fail the test."""
    text = page.read_text("utf-8")
    if "script-src" not in text:
        text = text.replace("style-src 'unsafe-inline'\"", "style-src 'unsafe-inline'; script-src 'unsafe-inline'\"")
    copy = page.with_name(f"{page.stem}-tried.html")
    copy.write_text(text.replace("<head>", f"<head>{_FIRST}", 1).replace("</body>", _LAST % script, 1), "utf-8")
    words = ("--dump-dom", "--virtual-time-budget=5000")
    out = _chromium(copy, width, height, *words)
    (found,) = re.findall(r'<pre id="found">(.*?)</pre>', out, re.DOTALL)
    result = json.loads(html.unescape(found))
    assert result["failures"] == []
    return result["found"]


def _chromium(page: Path, width: int, height: int, *words: str) -> str:
    ran = subprocess.run(
        [
            chromium(), "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
            "--force-device-scale-factor=1", f"--user-data-dir={page.parent / 'profile'}",
            f"--window-size={width},{height}", *words, page.as_uri(),
        ],
        check=False, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    return ran.stdout
