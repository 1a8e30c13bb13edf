"""The caller's settings in its workers, for the time of a chunk, and nobody else's."""

import contextvars
import decimal
import multiprocessing
import os
import sys
import threading
import warnings

import joblib
import numpy as np
import pytest

from phylozoo_parallel import MultiprocessingExecutor, ThreadingExecutor

pytestmark = pytest.mark.core

here = contextvars.ContextVar("here", default="nowhere")


def depth(levels):
    return 1 + depth(levels - 1) if levels else 0


def nested(levels):
    tree = []
    for _ in range(levels):
        tree = [tree]
    return tree


def other_tasks(func):
    """Run a function in every worker of the pool, through the user's own Parallel."""
    return joblib.Parallel(n_jobs=2)(joblib.delayed(func)() for _ in range(8))


class TestNumbers:
    def test_the_precision_of_decimals_reaches_workers(self, executor):
        with decimal.localcontext() as context:
            context.prec = 5
            texts = list(executor.map(lambda x: str(decimal.Decimal(1) / x), [3, 7], 1))
        assert texts == ["0.33333", "0.14286"]

    def test_the_signals_of_decimals_reach_workers(self, workers):
        with decimal.localcontext() as context:
            context.traps[decimal.DivisionByZero] = False
            context.rounding = decimal.ROUND_UP
            found = list(workers.map(lambda x: decimal.Decimal(x) / 0, [1]))
            assert str(found[0]) == "Infinity"
            assert list(workers.map(lambda x: round(decimal.Decimal(x), 1), ["0.01"])) == [
                round(decimal.Decimal("0.01"), 1)
            ]
        with pytest.raises(decimal.DivisionByZero):
            list(workers.map(lambda x: decimal.Decimal(x) / 0, [1]))

    def test_a_decimal_context_changed_by_an_item_stays_with_it(self, workers):
        def rough(x):
            decimal.getcontext().prec = 3
            return str(decimal.Decimal(1) / x)

        assert list(workers.map(rough, [3] * 8, 1)) == ["0.333"] * 8
        assert decimal.getcontext().prec == 28
        assert set(workers.map(lambda x: len(str(decimal.Decimal(1) / x)), [3] * 8, 1)) == {30}

    def test_numpy_errstate_reaches_workers(self, executor):
        def divided(x):
            return float(np.float64(1) / np.float64(x))

        with np.errstate(divide="ignore"):
            assert list(executor.map(divided, [0.0] * 4, 1)) == [float("inf")] * 4
        with np.errstate(divide="raise"), pytest.raises(FloatingPointError):
            list(executor.map(divided, [0.0]))
        with pytest.raises(RuntimeWarning):
            list(executor.map(divided, [0.0]))

    def test_numpy_errstate_reaches_a_function_that_imports_numpy(self, run_script):
        """The worker has not imported it before."""
        run_script(
            """
            import numpy
            from phylozoo_parallel import MultiprocessingExecutor

            def divided(x):
                import numpy
                return float(numpy.float64(1) / x)

            numpy.seterr(divide="ignore")
            assert list(MultiprocessingExecutor(2).map(divided, [0.0] * 4, 1)) == [float("inf")] * 4
            """
        )

    def test_callbacks_of_numpy_errstate_become_warnings(self, processes):
        with np.errstate(divide="call"), pytest.warns(RuntimeWarning, match="divide"):
            assert list(processes.map(lambda x: np.float64(1) / x, [np.float64(0)])) == [np.inf]

    def test_settings_of_numbers_do_not_reach_other_tasks(self, processes):
        with decimal.localcontext() as context, np.errstate(all="ignore"):
            context.prec = 5
            list(processes.map(abs, range(8), 1))
            found = other_tasks(lambda: (decimal.getcontext().prec, tuple(np.geterr().values())))
        assert set(found) == {(28, ("warn", "warn", "ignore", "warn"))}


class TestContextVariables:
    def test_context_variables_reach_worker_threads(self, threads):
        token = here.set("somewhere")
        try:
            assert set(threads.map(lambda _: here.get(), range(20), 1)) == {"somewhere"}
        finally:
            here.reset(token)
        assert set(threads.map(lambda _: here.get(), range(20), 1)) == {"nowhere"}

    def test_context_variables_have_the_values_of_the_maps_start(self, threads):
        results = threads.map(lambda _: here.get(), range(500), 1)
        token = here.set("later")
        try:
            assert set(results) == {"nowhere"}
        finally:
            here.reset(token)

    def test_context_variables_set_by_an_item_do_not_come_back(self, threads):
        assert set(threads.map(lambda x: here.set(str(x)) and None, range(20), 1)) == {None}
        assert here.get() == "nowhere"
        assert set(threads.map(lambda _: here.get(), range(20), 1)) == {"nowhere"}

    def test_maps_of_many_threads_have_their_own_context_variables(self, threads):
        """The threads of the caller share the worker threads."""
        right = []

        def user(name):
            here.set(name)
            right.append(set(threads.map(lambda _: here.get(), range(100), 1)) == {name})

        users = [threading.Thread(target=user, args=(str(i),)) for i in range(5)]
        for it in users:
            it.start()
        for it in users:
            it.join(60)
        assert right == [True] * 5

    def test_a_map_in_processes_sees_the_value_at_its_own_call(self, processes):
        """Maps that are open at the same time, and one after the variable was reset."""
        own = contextvars.ContextVar("own", default="nowhere")
        first = own.set("first")
        results = processes.map(lambda _: own.get(), range(20), 1)
        seen = {next(results)}
        own.set("second")
        assert set(processes.map(lambda _: own.get(), range(4), 1)) == {"second"}
        assert seen | set(results) == {"first"}
        own.reset(first)
        assert set(processes.map(lambda _: own.get(), range(4), 1)) == {"nowhere"}

    def test_what_an_item_sets_stays_in_its_chunk(self, workers):
        own = contextvars.ContextVar("own", default="nowhere")

        def sets(item):
            before = own.get()
            own.set(item)
            return before

        assert list(workers.map(sets, range(6), 1)) == ["nowhere"] * 6

    def test_context_variables_reach_threads_inside_a_worker_process(self, processes):
        def inner(name):
            here = contextvars.ContextVar("inner", default="nowhere")
            here.set(name)
            return set(ThreadingExecutor(2).map(lambda _: here.get(), range(8), 1))

        assert list(processes.map(inner, "ab", 1)) == [{"a"}, {"b"}]


class TestRecursion:
    DEEP = 5000

    @pytest.fixture
    def deep(self):
        before = sys.getrecursionlimit()
        sys.setrecursionlimit(3 * self.DEEP)
        yield self.DEEP
        sys.setrecursionlimit(before)

    def test_the_recursion_limit_reaches_workers(self, executor, deep):
        assert list(executor.map(depth, [deep] * 4, 1)) == [deep] * 4

    def test_the_recursion_limit_holds_for_pickling_too(self, processes, deep):
        """The depth is below what CPython allows its own C code."""
        levels = 1500
        found = list(processes.map(lambda tree: [tree], [nested(levels)] * 2, 1))
        assert found == [nested(levels + 1)] * 2

    def test_the_recursion_limit_does_not_reach_other_tasks(self, processes, deep):
        list(processes.map(abs, range(8), 1))
        assert max(other_tasks(sys.getrecursionlimit)) < deep

    def test_endless_recursion_ends_in_an_error(self, processes):
        with pytest.raises(RecursionError):
            list(processes.map(depth, [self.DEEP]))

    def test_a_recursion_limit_that_is_too_small_for_a_worker_is_ignored(self, run_script):
        """A worker has frames below the item that the caller does not have."""
        done = run_script(
            """
            import sys
            from phylozoo_parallel import MultiprocessingExecutor

            executor = MultiprocessingExecutor(2)
            list(executor.map(abs, range(4)))
            sys.setrecursionlimit(200)
            print(list(executor.map(abs, [-1, -2])))
            """
        )
        assert done.stdout == "[1, 2]\n"


@pytest.mark.skipif(not hasattr(sys, "set_int_max_str_digits"), reason="there is no limit")
class TestDigits:
    @pytest.fixture
    def unlimited(self):
        before = sys.get_int_max_str_digits()
        sys.set_int_max_str_digits(0)
        yield
        sys.set_int_max_str_digits(before)

    def test_the_limit_of_integer_digits_reaches_workers(self, executor, unlimited):
        assert list(executor.map(lambda x: len(str(10**x)), [5000])) == [5001]

    def test_a_lowered_limit_of_integer_digits_reaches_workers(self, executor):
        with pytest.raises(ValueError, match="digits"):
            list(executor.map(lambda x: len(str(10**x)), [5000]))

    def test_the_limit_of_integer_digits_does_not_reach_other_tasks(self, processes, unlimited):
        list(processes.map(abs, range(8), 1))
        assert 0 not in other_tasks(sys.get_int_max_str_digits)


def warn_here(item):
    warnings.warn(f"odd {item}", UserWarning, stacklevel=1)
    return item


class Odd(UserWarning):
    """A category of this module."""


def warn_once_an_item(category=UserWarning, text="odd"):
    def warn(item):
        warnings.warn(f"{text} {item}", category, stacklevel=1)
        return item

    return warn


class TestWarnings:
    def test_warnings_that_are_errors_raise_in_workers(self, executor):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with pytest.raises(UserWarning, match="odd 0"):
                list(executor.map(warn_once_an_item(), range(3)))

    def test_ignored_warnings_are_silent_in_workers(self, executor, capfd):
        with warnings.catch_warnings(record=True) as heard:
            warnings.simplefilter("always")
            warnings.filterwarnings("ignore", "odd")
            assert list(executor.map(warn_once_an_item(), range(3))) == [0, 1, 2]
        assert heard == []
        assert capfd.readouterr().err == ""

    def test_warnings_reach_the_callers_listeners(self, executor):
        with warnings.catch_warnings(record=True) as heard:
            warnings.simplefilter("always")
            assert list(executor.map(warn_here, range(3), 1)) == [0, 1, 2]
        assert {str(it.message) for it in heard} == {"odd 0", "odd 1", "odd 2"}
        assert {it.category for it in heard} == {UserWarning}
        (place,) = {(os.path.basename(it.filename), it.lineno) for it in heard}
        line = warn_here.__code__.co_firstlineno + 1
        assert place == (os.path.basename(__file__), line)

    def test_pytest_sees_warnings_of_workers(self, executor):
        with pytest.warns(UserWarning, match="odd"):
            list(executor.map(warn_once_an_item(), range(3)))

    @pytest.mark.parametrize("category", [Odd, DeprecationWarning, pytest.PytestWarning])
    def test_warnings_of_any_category_travel(self, executor, category):
        with warnings.catch_warnings(record=True) as heard:
            warnings.simplefilter("ignore")
            warnings.simplefilter("always", category)
            list(executor.map(warn_once_an_item(category), range(3), 1))
            list(executor.map(warn_once_an_item(FutureWarning), range(3), 1))
        assert [it.category for it in heard] == [category] * 3

    def test_warnings_are_filtered_by_module(self, executor):
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=__name__.replace(".", r"\."))
            assert list(executor.map(warn_once_an_item(), range(3))) == [0, 1, 2]
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="another")
            with pytest.raises(UserWarning):
                list(executor.map(warn_once_an_item(), range(3)))

    def test_warnings_are_shown_once_for_each_place(self, executor):
        def warn(item):
            warnings.warn("the same", UserWarning, stacklevel=1)

        with warnings.catch_warnings(record=True) as heard:
            warnings.simplefilter("default")
            list(executor.map(warn, range(20), 1))
        assert [str(it.message) for it in heard] == ["the same"]

    def test_warnings_come_in_order_with_their_attributes(self, executor):
        class Full(UserWarning):
            def __init__(self, text, number):
                super().__init__(text)
                self.number = number

        def warn(item):
            for number in range(3):
                warnings.warn(Full("text", 10 * item + number), stacklevel=1)

        with warnings.catch_warnings(record=True) as heard:
            warnings.simplefilter("always")
            list(executor.map(warn, [1]))
        # A class whose instances do not unpickle with what they were made of: the text is left.
        assert [getattr(it.message, "number", None) for it in heard] in ([10, 11, 12], [None] * 3)
        assert [str(it.message) for it in heard] == ["text"] * 3

    def test_warnings_of_a_failed_item_arrive(self, executor):
        def fail(item):
            warnings.warn("before", UserWarning, stacklevel=1)
            raise KeyError(item)

        with pytest.warns(UserWarning, match="before"), pytest.raises(KeyError):
            list(executor.map(fail, [1]))

    def test_warnings_that_an_item_catches_stay_with_it(self, executor):
        def caught(item):
            with warnings.catch_warnings(record=True) as heard:
                warnings.simplefilter("always")
                warnings.warn("mine", UserWarning, stacklevel=1)
            return len(heard)

        assert list(executor.map(caught, range(3))) == [1, 1, 1]

    def test_warning_filters_do_not_reach_other_tasks(self, processes, capfd):
        def filters():
            import warnings

            return [it[0] for it in warnings.filters if it[0] == "error"], warnings.showwarning

        with warnings.catch_warnings():
            warnings.simplefilter("error")
            list(processes.map(abs, range(8), 1))
            found = other_tasks(lambda: filters()[0])
        assert found == [[]] * 8

    def test_warnings_of_a_script_travel(self, run_script):
        """With the script's own category and filter, and the lines that Python shows."""
        done = run_script(
            """
            import warnings
            from phylozoo_parallel import MultiprocessingExecutor

            class Mine(Warning):
                pass

            def warn(item):
                warnings.warn("mine", Mine)
                warnings.warn("other", RuntimeWarning)
                return item

            warnings.simplefilter("error", Mine)
            executor = MultiprocessingExecutor(2)
            try:
                list(executor.map(warn, range(4)))
            except Mine as error:
                print("raised", error)
            warnings.simplefilter("ignore", Mine)
            print(list(executor.map(warn, range(4), 1)))
            """
        )
        assert done.stdout == "raised mine\n[0, 1, 2, 3]\n"
        assert done.stderr.count("RuntimeWarning: other") == 1

    def test_warning_filters_import_nothing_in_workers(self, run_script):
        """A category may be of a module that only the caller has, or that is slow to import."""
        run_script(
            """
            import sys, types, warnings
            from phylozoo_parallel import MultiprocessingExecutor

            module = types.ModuleType("only_here")
            exec("class Odd(Warning): pass", vars(module))
            sys.modules["only_here"] = module
            warnings.simplefilter("error", module.Odd)
            assert list(MultiprocessingExecutor(2).map(abs, [-1])) == [1]
            """
        )


class TestMultiprocessing:
    @pytest.mark.parametrize("method", [None, "spawn", "forkserver"])
    def test_an_item_may_use_a_pool_of_multiprocessing(self, processes, method):
        if method not in (None, *multiprocessing.get_all_start_methods()):
            pytest.skip("not on this system")

        def inner(item):
            import multiprocessing

            context = multiprocessing.get_context(method) if method else multiprocessing
            with context.Pool(1) as pool:
                (result,) = pool.map(abs, [item])
            process = context.Process(target=abs, args=(1,))
            process.start()
            process.join(60)
            return result, process.exitcode

        assert list(processes.map(inner, [-1, -2], 1)) == [(1, 0), (2, 0)]

    def test_an_item_may_use_a_pool_of_concurrent_futures(self, processes):
        def inner(item):
            from concurrent.futures import ProcessPoolExecutor

            with ProcessPoolExecutor(1) as pool:
                return pool.submit(abs, item).result(60)

        assert list(processes.map(inner, [-1, -2], 1)) == [1, 2]

    def test_the_callers_start_method_reaches_workers(self, run_script):
        done = run_script(
            """
            import multiprocessing
            from phylozoo_parallel import MultiprocessingExecutor

            executor = MultiprocessingExecutor(2)
            names = lambda _: multiprocessing.get_start_method()
            multiprocessing.set_start_method("spawn")
            print(set(executor.map(names, range(4), 1)))
            """
        )
        assert done.stdout == "{'spawn'}\n"

    def test_the_start_method_of_other_tasks_does_not_change(self, processes):
        list(processes.map(abs, range(8), 1))
        assert set(other_tasks(lambda: multiprocessing.get_start_method())) == {"loky"}


class TestHashes:
    def test_hashes_are_the_same_in_all_workers(self, run_script, monkeypatch):
        monkeypatch.delenv("PYTHONHASHSEED", raising=False)  # tox sets it
        done = run_script(
            """
            import os, signal, time
            from phylozoo_parallel import MultiprocessingExecutor

            def hashed(_):
                time.sleep(0.02)
                return hash("Pan"), os.getpid()

            def seen(workers):
                found = set()
                while len({pid for _, pid in found}) < workers:  # all have started
                    found |= set(MultiprocessingExecutor(workers).map(hashed, range(9), 1))
                return {it for it, _ in found}, {pid for _, pid in found}

            first, pids = seen(2)
            assert len(first) == 1
            assert "PYTHONHASHSEED" not in os.environ
            more, pids = seen(3)  # the pool grows
            assert more == first
            os.kill(min(pids), signal.SIGKILL)  # and is opened anew
            again, pids = seen(3)
            assert again == first
            print(first == {hash("Pan")})
            """
        )
        assert done.stdout == "False\n"

    def test_hashes_follow_the_programs_hash_seed(self, tmp_path):
        import subprocess

        script = tmp_path / "script.py"
        script.write_text(
            "from phylozoo_parallel import MultiprocessingExecutor\n"
            "executor = MultiprocessingExecutor(2)\n"
            "print({hash('Pan')} == set(executor.map(lambda _: hash('Pan'), range(9), 1)))\n"
        )
        for seed in "0", "7":
            done = subprocess.run(
                [sys.executable, script],
                env=os.environ | {"PYTHONHASHSEED": seed},
                capture_output=True,
                text=True,
                timeout=60,
            )
            assert (done.stdout, done.stderr) == ("True\n", "")

    def test_hash_seeds_do_not_restart_the_users_pool(self, run_script):
        run_script(
            """
            import os
            import joblib
            from phylozoo_parallel._loky.start import current
            from phylozoo_parallel import MultiprocessingExecutor

            def theirs():
                return joblib.Parallel(n_jobs=2)(joblib.delayed(abs)(-1) for _ in range(20))

            def pids():
                return set(current()._processes)

            theirs()
            before = pids()
            list(MultiprocessingExecutor(2).map(abs, range(20), 1))
            assert pids() == before
            theirs()
            assert pids() == before
            """
        )


def test_settings_of_a_map_do_not_outlive_it(processes):
    """They do not reach another map on the same workers either."""
    with decimal.localcontext() as context:
        context.prec = 4
        rough = processes.map(lambda x: str(decimal.Decimal(1) / x), [3] * 50, 1)
        assert next(rough) == "0.3333"
    fine = processes.map(lambda x: str(decimal.Decimal(1) / x), [3] * 50, 1)
    for _ in range(49):
        assert len(next(fine)) == 30
        assert next(rough) == "0.3333"


def test_settings_reach_one_worker_and_streamed_maps(processes):
    with decimal.localcontext() as context:
        context.prec = 4
        one = MultiprocessingExecutor(1)
        assert list(one.map(lambda x: str(decimal.Decimal(1) / x), [3])) == ["0.3333"]
