"""Write `zoo.json`, `untrained.json` and `docs/reference/architectures.md`: `python -m tests.zoo`."""

import json
import warnings
from pathlib import Path

import transformers

from . import listing

warnings.filterwarnings("ignore")
transformers.logging.set_verbosity_error()
HERE = Path(__file__).parent
data = {"transformers": transformers.__version__, "pairs": listing.everything()}
lines = ",\n".join(f"    {json.dumps(name)}: {json.dumps(pair)}" for name, pair in sorted(data["pairs"].items()))
text = f'{{\n  "transformers": {json.dumps(data["transformers"])},\n  "pairs": {{\n{lines}\n  }}\n}}\n'
(HERE / "zoo.json").write_text(text, encoding="utf-8")
page = HERE.parents[1] / "docs" / "reference" / "architectures.md"
untrained = listing.untrained(data["pairs"])
(HERE / "untrained.json").write_text(json.dumps(untrained, indent=1, sort_keys=True) + "\n", encoding="utf-8")
page.write_text(listing.page(data, untrained), encoding="utf-8")
