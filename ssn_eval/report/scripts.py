"""The scripts of a page, their data, and the policy under which a browser runs exactly these and fetches nothing.

The library is Vega-Embed with Vega-Lite and Vega, from the package `vl-convert-python`, so that the page and the files in `figures/` are
drawn by the same versions. `ast: true` in `templates/page.js` makes Vega interpret its expressions, so that the policy needs no
`unsafe-eval`.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from functools import lru_cache
from importlib.resources import files
from typing import Any

_EXPORT = "window.ssnEmbed = vegaEmbed;"
_LICENCE = """/* Vega, Vega-Lite and Vega-Embed. Copyright University of Washington Interactive Data Lab and contributors. All rights reserved.
Redistribution and use in source and binary forms, with or without modification, are permitted provided that the following conditions are met:
1. Redistributions of source code must retain the above copyright notice, this list of conditions and the following disclaimer.
2. Redistributions in binary form must reproduce the above copyright notice, this list of conditions and the following disclaimer in the
documentation and/or other materials provided with the distribution.
3. Neither the name of the copyright holder nor the names of its contributors may be used to endorse or promote products derived from this
software without specific prior written permission.
THIS SOFTWARE IS PROVIDED BY THE COPYRIGHT HOLDERS AND CONTRIBUTORS "AS IS" AND ANY EXPRESS OR IMPLIED WARRANTIES, INCLUDING, BUT NOT LIMITED
TO, THE IMPLIED WARRANTIES OF MERCHANTABILITY AND FITNESS FOR A PARTICULAR PURPOSE ARE DISCLAIMED. IN NO EVENT SHALL THE COPYRIGHT HOLDER OR
CONTRIBUTORS BE LIABLE FOR ANY DIRECT, INDIRECT, INCIDENTAL, SPECIAL, EXEMPLARY, OR CONSEQUENTIAL DAMAGES (INCLUDING, BUT NOT LIMITED TO,
PROCUREMENT OF SUBSTITUTE GOODS OR SERVICES; LOSS OF USE, DATA, OR PROFITS; OR BUSINESS INTERRUPTION) HOWEVER CAUSED AND ON ANY THEORY OF
LIABILITY, WHETHER IN CONTRACT, STRICT LIABILITY, OR TORT (INCLUDING NEGLIGENCE OR OTHERWISE) ARISING IN ANY WAY OUT OF THE USE OF THIS
SOFTWARE, EVEN IF ADVISED OF THE POSSIBILITY OF SUCH DAMAGE. */
"""
"""BSD-3-Clause; it travels with the code"""


@lru_cache(maxsize=1)
def library() -> str:
    """Vega-Embed, Vega-Lite and Vega as one script, which sets `window.ssnEmbed`."""
    import vl_convert

    return _LICENCE + _inside_html(vl_convert.javascript_bundle(_EXPORT))


def behaviour() -> str:
    """The script of the page itself: charts, legends, filters."""
    return _inside_html((files("ssn_eval.report") / "templates" / "page.js").read_text(encoding="utf-8"))


def policy(scripts: Sequence[str]) -> str:
    """The Content-Security-Policy that allows these inline scripts by hash, inline styles, and nothing else."""
    hashes = (base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts)
    allowed = " ".join(f"'sha256-{one}'" for one in hashes)
    return f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"


def data(value: Any) -> str:
    """JSON for a `<script type="application/json">`; no text in it can end the element."""
    text = json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _inside_html(script: str) -> str:
    """A script whose text a browser hashes as it stands: no carriage return, and nothing that ends or hides the element."""
    script = script.replace("\r\n", "\n").replace("\r", "\\r").strip()
    return script.replace("</script", "<\\/script").replace("<!--", "<\\!--")
