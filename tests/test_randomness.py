"""Random numbers by the page's recipe are the same however a map runs; what it warns of happens."""

import os
import random

import pytest

from phylozoo_parallel import MultiprocessingExecutor, ParallelConfig, ThreadingExecutor

numpy = pytest.importorskip("numpy")

SEED = 20240501


def draw(seed, n):
    return numpy.random.default_rng(seed).random(n).tolist()


def calls():
    return [(seed, 1 + i % 3) for i, seed in enumerate(numpy.random.SeedSequence(SEED).spawn(60))]


@pytest.mark.parametrize("chunksize", [None, 1, 7, 1000])
@pytest.mark.parametrize("n_jobs", [1, 2, 3])
@pytest.mark.parametrize("backend", ["sequential", "threading", "multiprocessing"])
def test_the_recipe_gives_the_same_numbers_however_it_runs(backend, n_jobs, chunksize):
    executor = ParallelConfig(backend, n_jobs=n_jobs, chunksize=chunksize).get_executor()
    expected = [draw(*call) for call in calls()]
    assert len(set(map(str, expected))) == 60
    assert list(executor.starmap(draw, calls())) == expected


def test_the_recipe_gives_the_same_numbers_in_another_program(run_script):
    code = f"""
        import numpy
        from phylozoo_parallel import MultiprocessingExecutor
        seeds = numpy.random.SeedSequence({SEED}).spawn(60)
        def draw(seed, n):
            return numpy.random.default_rng(seed).random(n).tolist()
        executor = MultiprocessingExecutor(2)
        print(list(executor.starmap(draw, [(seed, 1 + i % 3) for i, seed in enumerate(seeds)])))
        """
    assert run_script(code).stdout == f"{[draw(*call) for call in calls()]}\n"


def test_the_page_runs_from_top_to_bottom(run_page):
    checks = {
        "means = ": "assert len(set(means)) > 20",
        "first = ": "assert first == means[:3]",
    }
    run_page("randomness.md", checks)


class TestWhatThePageSays:
    def test_a_second_spawn_gives_other_seeds(self):
        sequence = numpy.random.SeedSequence(SEED)
        one, two = (draw(sequence.spawn(1)[0], 3) for _ in range(2))
        assert one != two
        assert one == draw(numpy.random.SeedSequence(SEED).spawn(1)[0], 3)

    def test_a_generator_that_is_sent_with_each_item_repeats_itself(self, processes):
        rng = numpy.random.default_rng(SEED)
        items = [(rng, x) for x in range(4)]
        drawn = list(processes.starmap(lambda rng, _: rng.random(), items, 1))
        assert len(set(drawn)) == 1
        together = list(processes.starmap(lambda rng, _: rng.random(), items, 4))
        assert len(set(together)) == 4

    def test_a_generator_that_the_function_captures_begins_alike_in_every_worker(self, processes):
        rng = numpy.random.default_rng(SEED)
        drawn = {}
        for worker, number in processes.map(lambda _: (os.getpid(), rng.random()), range(40), 1):
            drawn.setdefault(worker, []).append(number)
        first = rng.random()
        assert [numbers.count(first) for numbers in drawn.values()] == [1] * len(drawn)

    def test_forked_workers_repeat_each_other(self, run_script):
        code = """
            import multiprocessing, numpy
            fork = multiprocessing.get_context("fork")
            drawn = []
            for _ in range(2):
                with fork.Pool(1) as pool:
                    drawn.append(pool.apply(numpy.random.rand))
            print(len(set(drawn)))
            """
        assert run_script(code).stdout == "1\n"

    def test_a_seed_for_each_item_works_with_the_standard_library(self, executor):
        expected = [random.Random(f"{SEED} {i}").random() for i in range(9)]
        assert list(executor.map(lambda i: random.Random(f"{SEED} {i}").random(), range(9), 2)) == (
            expected
        )
        assert len(set(expected)) == 9

    @pytest.mark.parametrize(
        "draw_one", [lambda: random.random(), lambda: float(numpy.random.rand())]
    )
    def test_a_seed_of_the_program_does_not_reach_worker_processes(self, draw_one):
        random.seed(1)
        numpy.random.seed(1)
        expected = draw_one()
        drawn = list(MultiprocessingExecutor(2).map(lambda _: draw_one(), range(20), 1))
        assert expected not in drawn
        assert len(set(drawn)) == 20

    @pytest.mark.parametrize("draw_one", [random.random, numpy.random.rand])
    def test_a_function_of_a_module_carries_the_modules_generator(self, draw_one):
        drawn = {}
        executor = MultiprocessingExecutor(2)
        for worker, number in executor.map(lambda _: (os.getpid(), draw_one()), range(40), 1):
            drawn.setdefault(worker, []).append(number)
        first = draw_one()
        assert [numbers.count(first) for numbers in drawn.values()] == [1] * len(drawn)

    def test_seeded_inside_the_function_items_repeat(self, processes):
        def seeded(_):
            random.seed(1)
            return random.random()

        assert len(set(processes.map(seeded, range(6), 1))) == 1

    def test_threads_share_the_programs_generator(self):
        random.seed(1)
        expected = [random.random() for _ in range(40)]
        random.seed(1)
        drawn = list(ThreadingExecutor(2).map(lambda _: random.random(), range(40), 1))
        assert sorted(drawn) == sorted(expected)
        assert random.random() not in drawn
