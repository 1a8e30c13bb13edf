"""Results equal the built-in map's, whatever is mapped over whatever, wherever it is written."""

import functools
import itertools
import operator
import os
import sys
import textwrap
import time
from collections import deque
from dataclasses import dataclass
from fractions import Fraction

import joblib
import pytest
from conftest import run_python
from hypothesis import given, settings
from hypothesis import strategies as st

from phylozoo_parallel import MultiprocessingExecutor, ParallelConfig, ThreadingExecutor

pytestmark = pytest.mark.core

modest = settings(max_examples=25, deadline=None, derandomize=True, database=None)


class Indexed:
    """Can be iterated by index only, and has no length."""

    def __init__(self, items):
        self.items = list(items)

    def __getitem__(self, index):
        return self.items[index]


class Overstated(Indexed):
    """Claims more items than it has."""

    def __len__(self):
        return 2 * len(self.items) + 3


class Understated(Indexed):
    """Claims fewer items than it has."""

    def __len__(self):
        return len(self.items) // 2


FORMS = {
    "list": list,
    "tuple": tuple,
    "deque": deque,
    "iterator": iter,
    "generator": lambda items: (item for item in items),
    "chain": lambda items: itertools.chain(items[:3], items[3:]),
    "values": lambda items: dict(enumerate(items)).values(),
    "indexed": Indexed,
    "overstated": Overstated,
    "understated": Understated,
}
forms = st.sampled_from(sorted(FORMS))
scalars = st.none() | st.booleans() | st.integers() | st.text() | st.binary()
inputs = st.lists(scalars | st.tuples(scalars, scalars), max_size=40)
chunksizes = st.none() | st.integers(1, 50)


@pytest.mark.parametrize("n_jobs", [1, 2, 3])
@pytest.mark.parametrize("kind", [ThreadingExecutor, MultiprocessingExecutor])
class TestAnyInput:
    @modest
    @given(form=forms, items=inputs, chunksize=chunksizes, tag=scalars)
    def test_map_gives_every_result_of_any_input(self, kind, n_jobs, form, items, chunksize, tag):
        iterable = FORMS[form](items)
        results = kind(n_jobs).map(lambda item: (tag, item, type(item)), iterable, chunksize)
        assert list(results) == [(tag, item, type(item)) for item in items]

    @modest
    @given(
        form=forms,
        items=st.lists(st.lists(scalars, max_size=4).map(tuple) | st.text(max_size=3), max_size=40),
        chunksize=chunksizes,
    )
    def test_starmap_gives_every_result_of_any_input(self, kind, n_jobs, form, items, chunksize):
        results = kind(n_jobs).starmap(lambda *values: values, FORMS[form](items), chunksize)
        assert list(results) == [tuple(item) for item in items]


@modest
@given(form=forms, items=inputs, chunksize=chunksizes)
def test_sequential_takes_any_input(sequential, form, items, chunksize):
    assert list(sequential.map(repr, FORMS[form](items), chunksize)) == [repr(i) for i in items]


@pytest.mark.parametrize(
    "iterable",
    [
        range(7),
        "text",
        b"bytes",
        {3: "a", 1: "b"},
        {3: "a"}.items(),
        zip("ab", "cd", strict=True),
        map(abs, [-1]),
    ],
    ids=lambda iterable: type(iterable).__name__,
)
def test_builtin_iterables_are_inputs(processes, iterable):
    first, second = itertools.tee(iterable)
    assert list(processes.map(repr, first)) == list(map(repr, second))


def test_lines_of_an_open_file_are_an_input(executor, tmp_path):
    path = tmp_path / "lines"
    path.write_text("one\ntwo\nthree\n")
    with path.open() as lines:
        assert list(executor.map(str.strip, lines)) == ["one", "two", "three"]


def test_starmap_items_may_be_any_iterables(executor):
    items = [(2, 3), [3, 2], iter((2, 2)), (i for i in (5, 1)), {2: 0, 4: 0}, zip((2, 5))]
    assert list(executor.starmap(lambda a, b: (a, b), items)) == [
        (2, 3), (3, 2), (2, 2), (5, 1), (2, 4), ((2,), (5,))
    ]  # fmt: skip


def test_an_empty_input_gives_no_results(executor):
    assert list(executor.map(abs, [])) == []
    assert list(executor.starmap(pow, iter(()))) == []


@pytest.mark.parametrize("chunksize", [None, 1, 7, 10**9, sys.maxsize])
def test_many_items_give_as_many_results(workers, chunksize):
    count = 2000 if chunksize == 1 else 50_000
    assert list(workers.map(lambda x: x * x, range(count), chunksize)) == [
        x * x for x in range(count)
    ]


def test_results_are_right_when_costs_change_along_the_input(workers):
    naps = [0] * 2000 + [0.03] * 12 + [0] * 500 + [0.15] * 2
    items = list(enumerate(naps))
    results = workers.starmap(lambda index, nap: (index, time.sleep(nap)), items)
    assert [index for index, _ in results] == list(range(len(items)))


def cube(x):
    return x**3


class Scaled:
    def __init__(self, factor):
        self.factor = factor

    def apply(self, x):
        return self.factor * x

    __call__ = apply

    @classmethod
    def named(cls, x):
        return cls.__name__, x

    @staticmethod
    def doubled(x):
        return 2 * x


@dataclass
class Held:
    value: int


@functools.lru_cache
def remembered(x):
    return x + 1


def make_closure(offset):
    history = {"offset": offset}

    def factorial(n):
        return 1 if n < 2 else n * factorial(n - 1)

    return lambda x: factorial(abs(x) % 5) + history["offset"]


FUNCTIONS = {
    "function": cube,
    "lambda": lambda x: x * 3 - 1,
    "closure": make_closure(10),
    "partial": functools.partial(pow, 3),
    "partial of a lambda": functools.partial(lambda a, b: (a, b), "first"),
    "bound method": Scaled(4).apply,
    "callable object": Scaled(5),
    "class method": Scaled.named,
    "static method": Scaled.doubled,
    "bound method of a built-in": [0, 1, 1, 2].count,
    "built-in": abs,
    "method of a built-in type": int.bit_length,
    "class": Held,
    "class of the standard library": Fraction,
    "operator": operator.methodcaller("bit_length"),
    "cached function": remembered,
    "wrapped function": functools.wraps(cube)(lambda x: cube(x) + 1),
}


@pytest.mark.parametrize("func", FUNCTIONS.values(), ids=FUNCTIONS)
def test_any_callable_is_a_function(workers, func):
    items = list(range(1, 30))
    assert list(workers.map(func, items)) == list(map(func, items))


def test_a_class_defined_in_a_function_travels(processes):
    @dataclass
    class Local:
        value: int

        def more(self):
            return Local(self.value + 1)

    results = list(processes.map(Local, range(3)))
    assert results == [Local(0), Local(1), Local(2)]
    assert list(processes.map(Local.more, results)) == [Local(1), Local(2), Local(3)]


def test_results_may_be_what_only_cloudpickle_pickles(processes):
    adders = list(processes.map(lambda n: lambda x: x + n, range(3)))
    assert [add(10) for add in adders] == [10, 11, 12]


def test_a_sentinel_of_a_module_comes_back_as_itself(run_script, tmp_path):
    module = "MISSING = object()\ndef look(x): return MISSING if x else [MISSING, x]\n"
    (tmp_path / "tables.py").write_text(module)
    done = run_script(
        """
        import tables
        from phylozoo_parallel import MultiprocessingExecutor

        first, second = MultiprocessingExecutor(2).map(tables.look, [1, 0], 1)
        print(first is tables.MISSING, second[0] is tables.MISSING)
        """
    )
    assert done.stdout == "True True\n"


def test_a_method_of_an_object_that_holds_a_config_travels(workers):
    class Analysis:
        def __init__(self):
            self.parallel = ParallelConfig("multiprocessing", n_jobs=2)
            self.executor = self.parallel.get_executor()

        def step(self, x):
            return x, self.parallel.n_jobs

    assert list(workers.map(Analysis().step, range(3))) == [(0, 2), (1, 2), (2, 2)]


def test_a_function_of_joblibs_memory_travels(workers, tmp_path):
    cached = joblib.Memory(tmp_path, verbose=0).cache(cube)
    for _ in range(2):
        assert list(workers.map(cached, range(10))) == list(map(cube, range(10)))
    assert cached.check_call_in_cache(9)


def test_numpy_ufuncs_and_arrays_travel(workers):
    numpy = pytest.importorskip("numpy")
    matrix = numpy.arange(12.0).reshape(4, 3)
    for func in numpy.square, numpy.sum, numpy.vectorize(lambda x: x + 1):
        got = list(workers.map(func, matrix))
        assert numpy.array_equal(got, [func(row) for row in matrix])
    assert list(workers.starmap(numpy.maximum, matrix[:, :2])) == [1, 4, 7, 10]


# Written without a main guard: nothing may run twice, and the workers have to get `scaled`.
PROGRAM = """
import functools
from phylozoo_parallel import ParallelConfig
print("begin", flush=True)
FACTOR = 3
class Point:
    def __init__(self, x):
        self.x = x
    def scaled(self, by=1):
        return Point(FACTOR * self.x * by)
def scaled(x):
    return Point(x).scaled().x
for backend in ("multiprocessing", "threading", "sequential"):
    executor = ParallelConfig(backend, n_jobs=2).get_executor()
    print(list(executor.map(scaled, range(4))))
    print(list(executor.map(lambda x: scaled(x) + 1, range(4))))
    print([point.x for point in executor.map(Point.scaled, map(Point, range(4)))])
    print(list(executor.starmap(functools.partial(pow, mod=7), [(2, 3), (3, 2)])))
    print([isinstance(point, Point) for point in executor.map(Point, range(2))])
"""
PRINTED = ["begin"] + 3 * [
    "[0, 3, 6, 9]",
    "[1, 4, 7, 10]",
    "[0, 3, 6, 9]",
    "[1, 2]",
    "[True, True]",
]


@pytest.mark.parametrize("how", ["file", "-c", "-"])
def test_a_program_without_a_main_guard_runs(how, tmp_path):
    script = tmp_path / "program.py"
    script.write_text(PROGRAM)
    arguments, stdin = {"file": ([script], ""), "-c": (["-c", PROGRAM], ""), "-": (["-"], PROGRAM)}[
        how
    ]
    done = run_python("-W", "error", *arguments, stdin=stdin)
    assert done.stdout.splitlines() == PRINTED
    assert done.stderr == ""


def test_an_interactive_session_runs_maps():
    pexpect = pytest.importorskip("pexpect")
    session = pexpect.spawn(
        sys.executable,
        ["-q", "-W", "error"],
        env={**os.environ, "PYTHON_BASIC_REPL": "1", "TERM": "dumb"},
        encoding="utf-8",
        timeout=60,
    )

    def enter(code):
        for line in textwrap.dedent(code).strip().splitlines():
            session.expect(r"(>>>|\.\.\.) ")
            session.sendline(line)

    try:
        enter(
            """
            from phylozoo_parallel import ParallelConfig
            executor = ParallelConfig("multiprocessing", n_jobs=2).get_executor()
            def answer(x): return ("first", x)

            list(executor.map(answer, [1, 2]))
            """
        )
        session.expect_exact("[('first', 1), ('first', 2)]")
        enter(
            """
            def answer(x): return ("second", x)

            list(executor.map(answer, [3]))
            """
        )
        session.expect_exact("[('second', 3)]")
        enter("exit()")
        session.expect(pexpect.EOF)
    finally:
        session.close(force=True)
