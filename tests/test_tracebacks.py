"""A worker's traceback shows the user's own file, line and source."""

import importlib.util
import linecache
import os
import subprocess
import sys
import textwrap
import time

import cloudpickle
import pytest

FAILS = """\
def divide(item):
    half = item / 2
    return 1 / half
"""

PROGRAM = f"""
import inspect
from phylozoo_parallel import ParallelConfig
{FAILS}
def source(item):
    return inspect.getsource(divide)
executor = ParallelConfig("multiprocessing", n_jobs=2).get_executor()
try:
    list(executor.map(divide, [0]))
except ZeroDivisionError as error:
    print(error.__cause__)
print(*executor.map(source, [1]))
"""


def cause(executor, func):
    with pytest.raises(ZeroDivisionError) as caught:
        list(executor.map(func, [0]))
    return str(caught.value.__cause__)


@pytest.mark.core
def test_a_traceback_shows_the_lines_of_a_script(run_script, tmp_path):
    """``inspect.getsource`` works in the worker, too."""
    told = run_script(PROGRAM).stdout
    line = PROGRAM.splitlines().index("    return 1 / half") + 1
    assert f'File "{tmp_path / "script.py"}", line {line}, in divide\n    return 1 / half\n' in told
    assert FAILS in told


@pytest.mark.core
@pytest.mark.parametrize("group", [False, True])
def test_a_traceback_shows_the_lines_of_a_notebook(processes, group):
    """Cells are not files: their lines are in the caller's ``linecache``."""
    if group and sys.version_info < (3, 11):
        pytest.skip("groups came with Python 3.11")
    name, cell = "/tmp/ipykernel_1/2.py", FAILS
    if group:
        cell += "    raise ExceptionGroup('several', [error])\n"
        cell = cell.replace(
            "    return 1 / half\n", "    try: 1 / half\n    except ArithmeticError as error:\n    "
        )
    names = {"__name__": "__main__"}
    exec(compile(cell, name, "exec"), names)
    linecache.cache[name] = len(cell), None, cell.splitlines(keepends=True), name
    try:
        with pytest.raises(Exception, match=r"division|several") as caught:
            list(processes.map(names["divide"], [0]))
        told = str(caught.value.__cause__)
    finally:
        del linecache.cache[name]
    if group:
        assert f'  |   File "{name}", line 5, in divide\n  |     raise ExceptionGroup(' in told
        assert f'    |   File "{name}", line 3, in divide\n    |     try: 1 / half\n' in told
    else:
        assert f'  File "{name}", line 3, in divide\n    return 1 / half\n' in told


@pytest.mark.core
def test_a_traceback_shows_the_lines_of_a_module_registered_by_value(
    processes, tmp_path, monkeypatch
):
    (tmp_path / "my_by_value.py").write_text(FAILS)
    monkeypatch.syspath_prepend(tmp_path)
    import my_by_value

    cloudpickle.register_pickle_by_value(my_by_value)
    try:
        told = cause(processes, my_by_value.divide)
    finally:
        cloudpickle.unregister_pickle_by_value(my_by_value)
    file = tmp_path / "my_by_value.py"
    assert f'File "{file}", line 3, in divide\n    return 1 / half\n' in told


def test_a_traceback_shows_the_lines_typed_at_a_prompt(tmp_path):
    """Python keeps these lines from 3.13 on; before, only file name and line number are shown."""
    pexpect = pytest.importorskip("pexpect")
    told = tmp_path / "told"
    lines = [
        "from phylozoo_parallel import ParallelConfig",
        "executor = ParallelConfig('multiprocessing', n_jobs=2).get_executor()",
        "divide = lambda item: 1 / item",
        "def go(): return list(executor.map(divide, [0]))\r",
        f"import sys, pathlib; told = pathlib.Path({str(told)!r})",
        "sys.excepthook = lambda kind, error, trace: told.write_text(str(error.__cause__))",
        "go()",
        "exit()",
    ]
    environment = {**os.environ, "TERM": "xterm", "PYTHON_COLORS": "0"}
    prompt = pexpect.spawn(
        sys.executable, [], encoding="utf-8", timeout=60, env=environment, dimensions=(50, 200)
    )
    prompt.expect(">>> ")
    for line in lines:
        prompt.send(line + "\r")
        time.sleep(0.2)
    prompt.expect(pexpect.EOF)
    prompt.close()
    text = told.read_text()
    if sys.version_info >= (3, 13):
        assert 'File "<python-input-2>", line 1, in <lambda>\n    divide = lambda item: 1' in text
    else:
        assert 'File "<stdin>", line 1, in <lambda>\n' in text


@pytest.mark.core
def test_a_traceback_works_at_a_prompt_that_reads_a_pipe():
    typed = (
        textwrap.dedent(PROGRAM).replace("half\n", "half\n\n").replace("divide)\n", "divide)\n\n")
    )
    done = subprocess.run(
        [sys.executable, "-i", "-c", ""],
        input=typed.split("def source")[0]
        + textwrap.dedent("""
        executor = ParallelConfig("multiprocessing", n_jobs=2).get_executor()
        list(executor.map(divide, [0]))
        """),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert 'File "<stdin>", line 3, in divide\n' in done.stderr


@pytest.mark.core
def test_a_traceback_shows_the_lines_of_a_module_that_only_the_caller_has(processes, tmp_path):
    """It was loaded from a path, or by pytest's importlib mode; the error says what to do."""
    (tmp_path / "from_a_path.py").write_text("def f(item): return item\nclass Item: pass\n")
    spec = importlib.util.spec_from_file_location("from_a_path", tmp_path / "from_a_path.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["from_a_path"] = module
    spec.loader.exec_module(module)
    way_out = r"cloudpickle\.register_pickle_by_value\(from_a_path\)"
    try:
        with pytest.raises(Exception, match=way_out) as caught:
            list(processes.map(module.f, [1]))
        assert "item 0" in str(caught.value.__cause__)
        with pytest.raises(Exception, match=way_out):
            list(processes.map(lambda item: module.f(item), [1]))
        with pytest.raises(Exception, match=way_out):
            list(processes.map(lambda item: item, [1, module.Item()]))
        cloudpickle.register_pickle_by_value(module)
        assert list(processes.map(module.f, [1, 2])) == [1, 2]
        assert type(next(processes.map(lambda item: item, [module.Item()]))) is module.Item
    finally:
        cloudpickle.unregister_pickle_by_value(module)
        del sys.modules["from_a_path"]
