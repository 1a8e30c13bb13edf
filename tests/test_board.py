"""The page on which workers note how far they are."""

import subprocess
import sys

import pytest

from phylozoo_parallel._shipping import board

WRITER = """
import sys
from phylozoo_parallel._shipping import board

path, device, inode, cell = sys.argv[1], *map(int, sys.argv[2:])
note = board.of((path, device, inode)).noter(cell)
note(0, 0)
print("begun", flush=True)
for done in range(1 << 30):
    note(done, 1 + done % 255)
    sum(range(100))
"""


def mark(done):
    """Return the mark of a note by WRITER."""
    return (2 * done + 1 + done % 255) & board.MARK


def time_mark(since):
    return round(since * 1e9) & board.MARK


def test_a_note_is_never_seen_in_part():
    """A time that belongs to other items would end a worker that is not late."""
    page = board.own()
    cell = page.take_cell()
    assert page.seen(cell) is None
    command = [sys.executable, "-c", WRITER, *map(str, page.name), str(cell)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        try:
            assert writer.stdout.readline() == "begun\n"
            items: dict[float, int] = {}
            for _ in range(50_000):
                seen = page.seen(cell)
                assert seen.pid == writer.pid
                assert seen.running in (0, 1 + seen.done % 255)
                # A writer that is stopped between its two words leaves the time of the next note,
                # which makes an item look younger than it is.
                of = [it for it in (seen.done, seen.done + 1) if mark(it) == time_mark(seen.since)]
                assert of or seen.done == 0
                assert items.setdefault(seen.since, max(of, default=0)) in (0, *of)
        finally:
            writer.kill()
    if len(items) == 1:
        pytest.skip("the two never ran at the same time")
    page.drop_cell(cell)


@pytest.mark.parametrize(("done", "running"), [(0, 0), (0, 1), (254, 255), ((1 << 32) - 2, 255)])
def test_a_note_is_read_as_it_was_written(done, running):
    page = board.own()
    cell = page.take_cell()
    page.noter(cell)(done, running)
    assert page.seen(cell)[1:3] == (done, running)
    page.drop_cell(cell)


def test_a_note_of_unpickling_the_function_blames_no_item():
    page = board.own()
    cell = page.take_cell()
    page.noter(cell)(board.AT_FUNCTION, 0)
    seen = page.seen(cell)
    assert seen.at_function
    assert (seen.done, seen.running) == (0, 0)
    page.drop_cell(cell)
