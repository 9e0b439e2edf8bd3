"""Write the package's description: the README, whose links lead to the repository, since nothing else lies beside it.

Read by hatchling alone, when a wheel or an sdist is built.
"""

import re
from pathlib import Path

from hatchling.metadata.plugin.interface import MetadataHookInterface


class Readme(MetadataHookInterface):
    """Set the metadata's `readme`."""

    def update(self, metadata: dict) -> None:
        """Fill in what pyproject.toml calls dynamic; an installed description has no files to link to."""
        text = (Path(self.root) / "README.md").read_text(encoding="utf-8")
        metadata["readme"] = {"content-type": "text/markdown", "text": linked(text, metadata["urls"]["Repository"])}


def linked(text: str, repository: str) -> str:
    """Return a page whose links to files beside it are addresses below the repository's.

    >>> linked("[a](docs/a.md) [b](#b) [c](https://c.org)", "https://r.org")
    '[a](https://r.org/blob/main/docs/a.md) [b](#b) [c](https://c.org)'
    """
    return re.sub(r"\]\((?!https?:|#)([^)\s]+)\)", rf"]({repository}/blob/main/\1)", text)
