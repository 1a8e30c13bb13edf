"""Executors where SciPy, emcee and dynesty take a pool or a map, on every backend."""

import pytest

from phylozoo_parallel import MultiprocessingExecutor, ParallelConfig, SequentialExecutor

numpy = pytest.importorskip("numpy")


def misfit(rates):
    return float(numpy.sum((numpy.asarray(rates) - [1.0, 2.0]) ** 2))


def log_likelihood(rates):
    return -0.5 * misfit(rates)


def prior(unit):
    return 5 * unit


def powers(x):
    return numpy.array([x, x * x])


class Counting:
    """A pool that counts the maps which it passes on."""

    def __init__(self, executor):
        self.executor = executor
        self.maps = 0

    def map(self, func, iterable):
        self.maps += 1
        return self.executor.map(func, iterable)


def test_size_is_the_number_of_workers(executor):
    assert executor.size == getattr(executor, "n_jobs", 1)
    assert MultiprocessingExecutor(3).size == 3
    assert SequentialExecutor().size == 1


class TestScipy:
    @pytest.fixture(autouse=True)
    def _scipy(self):
        pytest.importorskip("scipy")

    def test_differential_evolution_gives_the_same_result(self, executor):
        from scipy.optimize import differential_evolution

        def run(workers):
            settings = {"maxiter": 8, "updating": "deferred", "workers": workers}
            seed = numpy.random.default_rng(1)
            return differential_evolution(misfit, [(0, 5)] * 2, **settings, rng=seed)

        assert run(executor.map).x.tolist() == run(map).x.tolist()

    def test_brute_gives_the_right_result(self, executor):
        from scipy.optimize import brute

        grid = [slice(0, 5, 0.5)] * 2
        assert brute(misfit, grid, workers=executor.map, finish=None).tolist() == [1, 2]

    def test_quad_vec_gives_the_right_result(self, executor):
        from scipy.integrate import quad_vec

        integral, _ = quad_vec(powers, 0, 1, workers=executor.map)
        assert integral == pytest.approx([1 / 2, 1 / 3])

    def test_shgo_gives_the_right_result(self, executor):
        from scipy.optimize import shgo

        assert shgo(misfit, [(0, 5)] * 2, workers=executor.map).x == pytest.approx([1, 2])

    @pytest.mark.parametrize("jac", ["2-point", "3-point", "cs"])
    def test_least_squares_gives_the_right_result(self, executor, jac):
        """SciPy gives a generator of points, which is read ahead of the results."""
        pytest.importorskip("scipy", "1.16")
        from scipy.optimize import least_squares

        found = least_squares(distances, [0.0, 0.0], jac=jac, workers=executor.map)
        assert found.x == pytest.approx([1, 2])

    def test_an_error_comes_out_of_scipy_unchanged(self, executor):
        from scipy.optimize import brute

        with pytest.raises(ZeroDivisionError):
            brute(lambda x: 1 / 0, [slice(0, 5, 1)], workers=executor.map, finish=None)


def distances(rates):
    return rates - numpy.array([1.0, 2.0])


class TestEmcee:
    def test_a_chain_of_emcee_is_the_same_on_every_executor(self, executor):
        emcee = pytest.importorskip("emcee")
        begin = numpy.random.default_rng(1).normal(size=(8, 2))

        def chain(pool):
            sampler = emcee.EnsembleSampler(8, 2, log_likelihood, pool=pool)
            sampler.random_state = numpy.random.RandomState(1).get_state()
            sampler.run_mcmc(begin, 15)
            return sampler.get_chain().tolist()

        counting = Counting(executor)
        assert chain(counting) == chain(executor) == chain(None)
        assert counting.maps == 1 + 2 * 15


class TestDynesty:
    @pytest.fixture
    def run(self):
        dynesty = pytest.importorskip("dynesty")

        def run(pool, **settings):
            sampler = dynesty.NestedSampler(
                log_likelihood,
                prior,
                2,
                nlive=30,
                pool=pool,
                rstate=numpy.random.default_rng(1),
                **settings,
            )
            sampler.run_nested(dlogz=3, print_progress=False)
            return sampler.queue_size, sampler.results.logz.tolist()

        return run

    def test_dynesty_takes_the_size_from_the_executor(self, executor, run):
        assert run(executor)[0] == executor.size

    def test_results_of_dynesty_depend_on_the_queue_size_alone(self, run):
        expected = run(SequentialExecutor(), queue_size=3)
        for backend, n_jobs in ("threading", 2), ("multiprocessing", 1), ("multiprocessing", 3):
            pool = ParallelConfig(backend, n_jobs=n_jobs).get_executor()
            assert run(pool, queue_size=3) == expected


def test_the_page_runs_from_top_to_bottom(run_page):
    for module in "scipy", "emcee", "dynesty":
        pytest.importorskip(module)
    checks = {
        "best = ": "assert numpy.allclose(best.x, [1, 2], atol=0.01)",
        "integral, ": """
assert grid.tolist() == [1.0, 2.0]
assert numpy.allclose(integral, [1 / 2, 1 / 3])
""",
        "emcee": "assert sampler.get_chain().shape == (20, 8, 2)",
        "nested.run": "assert nested.queue_size == 2\nassert len(nested.results.logz) > 30",
        "values = ": "assert values.tolist() == [0.0, 1.0]",
        "half = ": "assert numpy.allclose(best.x, [1, 2], atol=0.01)",
    }
    run_page("pools.md", checks)


def test_the_page_is_right_about_arrays(executor):
    results = executor.map(abs, [-1, -2])
    assert numpy.array(results).ndim == 0
    assert list(results) == [1, 2]
    assert numpy.array(list(executor.map(abs, [-1, -2]))).tolist() == [1, 2]
