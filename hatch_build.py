"""The long description for an index page: the README without links that only work in a clone."""

import re
from pathlib import Path

from hatchling.metadata.plugin.interface import MetadataHookInterface

LINK_INTO_THE_CLONE = re.compile(r"\[([^\]]+)\]\((?!https?://)[^)]+\)")


def long_description(readme: str) -> str:
    """Return the README with the text of such links only, and without its last list of links."""
    text = readme.partition("\n## More\n")[0]
    return LINK_INTO_THE_CLONE.sub(r"\1", text) + "\nThe documentation is in the folder `docs`.\n"


class Description(MetadataHookInterface):
    """Fills in the metadata that `pyproject.toml` calls dynamic."""

    def update(self, metadata: dict) -> None:
        """Fill in the long description."""
        readme = Path(self.root, "README.md").read_text(encoding="utf-8")
        text = long_description(readme)
        metadata["readme"] = {"content-type": "text/markdown", "text": text}
