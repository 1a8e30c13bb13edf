"""
Run the programs of docs/slow.md, and show what their profiles say and what each change gave.

::

    python -m benchmarks.slow                          all of the page, one after the other
    python -m benchmarks.slow small captures uneven    sections whose titles have these words
    python -m benchmarks.slow --write                  puts texts, times and pictures into the page

Whatever a section needs of those before it runs as well. The figures of the page come from here:
run it with ``--write`` on a computer that has nothing else to do, then look at the pictures.
"""

from __future__ import annotations

import argparse
import io
import os
import re
import sys
from contextlib import redirect_stdout
from pathlib import Path
from tempfile import TemporaryDirectory

from phylozoo_parallel._profile.units import seconds
from phylozoo_parallel.profiles import Profile

PAGE = Path(__file__).parents[1] / "docs" / "slow.md"
PARTS = re.compile(
    r"^```python *(?P<file>\S*)\n(?P<code>.*?)^```$"
    r"|^```text\n(?P<text>.*?)^```$"
    r"|^!\[[^]]*\]\((?P<picture>[^)]*)\)$"
    r"|^(?P<took>It took .*?as fast)(?=[.,;:])"
    r"|^## (?P<title>.*?)$",
    re.M | re.S,
)


class Page:
    """Runs the page from top to bottom; each of its parts shows the profile before it."""

    def __init__(self, words: list[str], pictures: Path | None) -> None:
        self._words, self._pictures = words, pictures
        self._wanted = not words
        self._names: dict[str, object] = {"__name__": "__main__"}
        self._runs: list[Profile] = []
        self._code = ""

    def part(self, found: re.Match[str]) -> str:
        """Run or show a part, and return what it should be."""
        if title := found["title"]:
            self._wanted = not self._words or any(word in title.lower() for word in self._words)
            self._say(f"\n## {title}\n")
        elif found["code"] is not None:
            self._run(found["file"], found["code"])
        elif found["text"]:
            self._say(str(self._runs[-1]))
            return f"```text\n{self._runs[-1]}\n```"
        elif found["picture"]:
            self._picture(Path(found["picture"]).name)
        elif found["took"]:
            before, after = (run.maps[-1] for run in self._runs[-2:])
            took = (
                f"It took {seconds(after.wall)} instead of {seconds(before.wall)}, "
                f"{before.wall / after.wall:.1f} times as fast"
            )
            self._say(f"\nThe change:\n\n{self._code}\n{self._runs[-1]}\n\n{took}.")
            return took
        return found[0]

    def _picture(self, name: str) -> None:
        if self._pictures is not None and self._wanted:
            self._runs[-1].plot().savefig(self._pictures / name, dpi=100)
            self._say(f"\npicture: {self._pictures / name}")

    def _run(self, file: str, code: str) -> None:
        if file:
            Path(file).write_text(code, encoding="utf-8")
            return
        self._names.pop("run", None)
        self._code = code
        with redirect_stdout(io.StringIO()):
            exec(compile(code, str(PAGE), "exec"), self._names)
        run = self._names.get("run")
        if isinstance(run, Profile):
            self._runs.append(run)

    def _say(self, text: str) -> None:
        if self._wanted:
            print(text, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.strip().splitlines()[0])
    parser.add_argument("words", nargs="*", help="of titles of sections, in small letters")
    parser.add_argument("--pictures", type=Path, metavar="DIRECTORY", help="save them there")
    parser.add_argument("--write", action="store_true", help="into the page")
    wanted = parser.parse_args()
    text = PAGE.read_text(encoding="utf-8")
    pictures = PAGE.parent / "_static" if wanted.write else wanted.pictures
    page = Page(wanted.words, pictures and pictures.resolve())
    home = Path.cwd()
    with TemporaryDirectory() as scratch:
        os.chdir(scratch)
        sys.path.insert(0, scratch)
        written = PARTS.sub(page.part, text)
        os.chdir(home)
    if wanted.write:
        PAGE.write_text(written, encoding="utf-8")


if __name__ == "__main__":
    main()
