"""The map's state under random orders of events: each result once, in its place, to the end."""

import random

import pytest

from phylozoo_parallel._chunk import Chunk
from phylozoo_parallel._engines.base import WorkersLost
from phylozoo_parallel._map.measured import Measured
from phylozoo_parallel._map.state import Read, State
from phylozoo_parallel._options import Options
from phylozoo_parallel._shipping.board import Progress
from phylozoo_parallel._worker.run import Took

pytestmark = pytest.mark.core

DEAD, ALIVE = 9, 8
"""Process ids of a worker that died, and of one of the same pool that did not."""


class Drive:
    """
    Drives a state as the loop would, but lets chance say what happens next.

    Parameters
    ----------
    chance : random.Random
    """

    def __init__(self, chance):
        options = Options(
            chunksize=chance.choice([1, 3, 7, None]),
            retries=chance.randrange(3),
            timeout=None,
            progress=False,
            ordered=chance.random() < 0.7,
            return_exceptions=chance.random() < 0.3,
        )
        self.chance, self.options, self.total = chance, options, chance.randrange(1, 40)
        self.bad = set(chance.sample(range(self.total), min(chance.randrange(3), self.total)))
        self.deaths = chance.randrange(3)
        self.it = State(options, self.total, 2, 4, Measured())
        self.lost = {}  # chunks whose pool is gone, with the news of that
        self.news = None  # the news that the state has heard last
        self.end = None  # index of the error that ends the map
        self.out = []  # indices handed out

    def run(self):
        """Run the map to its end; return the error that it ended with, if any."""
        it = self.it
        while True:
            while self.chance.random() < 0.9 and (step := it.todo()) is not None:
                self.send(step)
            if it.ready() and self.chance.random() < 0.7:
                found = it.take()
                if not isinstance(found, Chunk):
                    if found.ends:
                        return found.error
                    found = Chunk(it._next, [it._next])
                    found.results = found.items
                self.out.extend(found.results)
                it.handed_out(len(found.results))
            elif it.in_flight:
                chunk = self.chance.choice(sorted(it.in_flight, key=lambda chunk: chunk.first))
                self.happens_to(chunk)
                self.note_end()
            elif not it.more() and not it.ready():
                return None

    def send(self, step):
        it = self.it
        if isinstance(step, Read):
            items = list(range(it.read, min(it.read + step.size, self.total)))
            step = it.took(items, 0.0, over=it.read + len(items) == self.total, error=None)
        flying = {item for chunk in it.in_flight for item in chunk.items}
        assert not flying.intersection(step.items)
        assert not set(self.out).intersection(step.items)
        assert self.end is None or step.first < self.end
        assert self.news not in self.lost.values()  # first, all chunks of that pool come back
        it.sending(step)

    def note_end(self):
        """Note the index of the first error that ends the map, as it is kept to be handed out."""
        ends = [at for at, it in self.it._finished.items() if getattr(it, "ends", False)]
        self.end = min(ends, default=self.end)

    def happens_to(self, chunk):
        it, chance = self.it, self.chance
        if chunk in self.lost:
            it.in_flight.remove(chunk)
            self.news = self.lost.pop(chunk)
            it.lost(chunk, self.news)
        elif self.deaths and chance.random() < 0.2:
            self.deaths -= 1
            loss = WorkersLost({DEAD: "exit code 3"}, {})
            for other in it.in_flight:
                self.lost.setdefault(other, loss)
                other.progress = self.progress(other, DEAD if other is chunk else ALIVE)
            chunk.late = chance.random() < 0.3
        elif chance.random() < 0.1:
            it.in_flight.remove(chunk)
            it.singles(chunk.first, chunk.items)
        else:
            self.comes_back(chunk)

    def progress(self, chunk, pid):
        done = self.chance.randrange(len(chunk.items) + 1)
        running = self.chance.randrange(2) if done < len(chunk.items) else 0
        kinds = None, Progress(pid, 0, 0, 1.0, at_function=True), Progress(pid, done, running, 1.0)
        return self.chance.choice(kinds[pid == DEAD :])

    def comes_back(self, chunk):
        it, items, first = self.it, chunk.items, chunk.first
        bad = [item - first for item in items if item in self.bad]
        done = len(items) if self.options.return_exceptions or not bad else bad[0]
        short = self.chance.randrange(1, len(items) + 1)
        done, fails = (short, False) if short <= done else (done, done < len(items))
        it.in_flight.remove(chunk)
        chunk.results = items[:done]
        if done:
            it.came(chunk, done)
            seconds = done * self.chance.choice([1e-6, 0.001, 0.3])
            it.measured.add(done, Took(seconds, seconds, 1, seconds**2 / done), 0, 0.0)
        if fails:
            it.end(first + done, ValueError(first + done))
        elif done < len(items):
            it.rest(Chunk(first + done, items[done:]))


@pytest.mark.parametrize("seed", range(20))
def test_in_any_order_of_events_each_result_comes_once_and_in_its_place(seed):
    for case in range(100):
        drive = Drive(random.Random(100 * seed + case))
        error = drive.run()
        whole = range(drive.total if error is None else drive.end)
        if drive.options.ordered:
            assert drive.out == list(whole)
        else:
            assert len(set(drive.out)) == len(drive.out)
            assert set(drive.out) >= set(whole)
        assert (error is None) == (drive.end is None)
