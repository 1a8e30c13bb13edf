"""In a notebook's kernel: cells, magics, interrupts, restarts, and the notebooks of docs."""

import functools
import json
import os
import re
import textwrap
import time
from queue import Empty

import pytest
from environments import ROOT

psutil = pytest.importorskip("psutil")
pytest.importorskip("ipykernel")
manager = pytest.importorskip("jupyter_client.manager")
nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")

NOTEBOOKS = {
    "first-steps.ipynb": ["[0, 1, 4, 9, 16]", "item 2"],
    "phylozoo-analysis.ipynb": ["1.00  Split", "the same on one core: True"],
}

WARM = """
from phylozoo_parallel import ParallelConfig
executor = ParallelConfig("multiprocessing", n_jobs=2).get_executor()
assert list(executor.map(abs, range(9))) == list(range(9))
"""


class Kernel:
    """A kernel that is driven as a notebook drives it."""

    def __init__(self, directory):
        # The kernel of this interpreter, whatever others are installed for this user.
        self.manager = manager.KernelManager(kernel_name="python3")
        self.manager.start_kernel(cwd=str(directory))
        self.connect()

    def connect(self):
        self.client = self.manager.client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=60)

    def start(self, cell):
        """Run a cell, and do not wait for it."""
        return self.client.execute(textwrap.dedent(cell))

    def output(self, request, until=None, timeout=60):
        """Return what a cell prints, to its end or `until` a text, and the error that ends it."""
        text, error = "", None
        end = time.monotonic() + timeout
        while until is None or until not in text:
            try:
                message = self.client.get_iopub_msg(timeout=max(end - time.monotonic(), 0.01))
            except Empty:
                pytest.fail(f"the cell did not end within {timeout} s; it printed {text!r}")
            if message["parent_header"].get("msg_id") != request:
                continue
            kind, content = message["msg_type"], message["content"]
            if kind == "stream":
                text += content["text"]
            elif kind == "display_data":
                text += " ".join(content["data"])
            elif kind == "error":
                error = content["ename"], "\n".join(content["traceback"])
            elif kind == "status" and content["execution_state"] == "idle":
                assert until is None, f"the cell ended without {until!r}: {error}"
                break
        return text, error

    def run(self, cell):
        """Run a cell that has to succeed, and return what it prints."""
        text, error = self.output(self.start(cell))
        assert error is None, error[1]
        return text

    def workers(self):
        """Return the processes that the kernel has started."""
        return psutil.Process(self.manager.provisioner.pid).children(recursive=True)

    def end(self):
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)


@pytest.fixture(scope="module")
def start_kernel(tmp_path_factory):
    kernels = []

    def start():
        directory = tmp_path_factory.mktemp("notebook")
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("IPYTHONDIR", str(directory / "ipython"))
            patch.setenv("JUPYTER_RUNTIME_DIR", str(directory / "runtime"))
            kernels.append(Kernel(directory))
        kernels[-1].run(WARM)
        return kernels[-1]

    yield start
    for kernel in kernels:
        kernel.end()


@pytest.fixture(scope="module")
def kernel(start_kernel):
    return start_kernel()


def gone(processes):
    return not any(
        process.is_running() and process.status() != psutil.STATUS_ZOMBIE for process in processes
    )


class TestProgress:
    CELL = """
        with_a_bar = ParallelConfig("multiprocessing", 2, progress="bootstrap").get_executor()
        assert list(with_a_bar.map(abs, range(9))) == list(range(9))
        """

    def test_progress_is_a_widget(self, kernel):
        pytest.importorskip("ipywidgets")
        assert "application/vnd.jupyter.widget-view+json" in kernel.run(self.CELL)

    def test_a_finished_bar_is_stored_as_finished(self):
        """A notebook keeps the last state of a bar, and pages show it."""
        pytest.importorskip("ipywidgets")
        cell = """
            from phylozoo_parallel import ParallelConfig
            for backend in "sequential", "threading", "multiprocessing":
                executor = ParallelConfig(backend, 2, progress=backend).get_executor()
                assert list(executor.map(abs, range(9))) == list(range(9))
            """
        notebook = nbformat.v4.new_notebook(
            cells=[nbformat.v4.new_code_cell(textwrap.dedent(cell))]
        )
        nbclient.NotebookClient(notebook, timeout=60, store_widget_state=True).execute()
        widgets = notebook.metadata.widgets["application/vnd.jupyter.widget-state+json"]["state"]
        values = [str(widget["state"].get("value")) for widget in widgets.values()]
        labels = [" ".join(value.split()) for value in values]
        for backend in "sequential", "threading", "multiprocessing":
            assert f"{backend}: 100%" in labels

    def test_progress_is_text_without_widgets(self, start_kernel):
        kernel = start_kernel()
        kernel.run("import sys\nsys.modules['ipywidgets'] = None")
        kernel.run(WARM)
        shown = kernel.run(self.CELL)
        assert "widget-view" not in shown
        assert "9/9" in shown


class TestCells:
    def test_functions_and_classes_of_cells_run_in_workers(self, kernel):
        kernel.run("""
            class Taxon:
                def __init__(self, name):
                    self.name = name
                def shout(self):
                    return self.name.upper()

            def shouted(taxon):
                return Taxon(taxon.shout())
            """)
        assert kernel.run("""
            results = list(executor.map(shouted, [Taxon("a"), Taxon("b")]))
            print([type(result) is Taxon for result in results], [r.name for r in results])
            print(list(executor.map(Taxon("c").shout.__class__.__call__, [Taxon("d").shout])))
            """).splitlines() == ["[True, True] ['A', 'B']", "['D']"]

    def test_lambdas_see_the_notebooks_globals(self, kernel):
        kernel.run("import math\nscale = 2")
        assert kernel.run("print(list(executor.map(lambda x: math.sqrt(x) * scale, [1, 4])))") == (
            "[2.0, 4.0]\n"
        )
        kernel.run("scale = 10")
        assert kernel.run("print(list(executor.map(lambda x: math.sqrt(x) * scale, [1, 4])))") == (
            "[10.0, 20.0]\n"
        )

    def test_a_redefined_function_counts_at_the_next_map(self, kernel):
        for version in 1, 2, 3:
            kernel.run(f"""
                class Answer:
                    version = {version}

                def helper(x):
                    return {version} * x

                def answer(x):
                    return Answer(), helper(x)
                """)
            assert kernel.run("""
                results = list(executor.map(answer, range(4)))
                print({isinstance(a, Answer) and a.version for a, _ in results}, results[1][1])
                """) == (f"{{{version}}} {version}\n")

    def test_a_function_redefined_while_a_map_runs_does_not_change_that_map(self, kernel):
        """A map keeps the function that it was given."""
        kernel.run("def f(x):\n    return 'old', x\nold = executor.map(f, range(200), 1)")
        kernel.run("def f(x):\n    return 'new', x\nnew = executor.map(f, range(200), 1)")
        assert kernel.run("print({name for name, _ in old}, {name for name, _ in new})") == (
            "{'old'} {'new'}\n"
        )

    @pytest.mark.parametrize("magic", ["%time", "%timeit -n1 -r1", "%prun -q"])
    def test_magics_before_the_map_do_no_harm(self, kernel, magic):
        kernel.run(f"def square(x):\n    return x * x\n{magic} r = list(executor.map(square, [3]))")

    def test_magics_in_the_cell_of_the_map_do_no_harm(self, kernel):
        assert kernel.run("""
            %env PHYLOZOO_PARALLEL_TEST=1
            text = !echo hello
            def tell(i):
                return text[0], i
            %matplotlib --list
            print(list(executor.map(tell, range(2))))
            """).endswith("[('hello', 0), ('hello', 1)]\n")
        assert "[0, 1, 4]" in kernel.run(
            "%%time\nprint(list(executor.map(lambda x: x * x, range(3))))"
        )

    def test_a_reloaded_module_counts_at_the_next_map(self, kernel):
        """A module that is registered by value is up to date in the workers, too."""
        kernel.run("""
            %load_ext autoreload
            %autoreload 2
            import cloudpickle, os, pathlib, sys
            sys.path.insert(0, os.getcwd())
            module = pathlib.Path("edited_module.py")
            module.write_text("def answer(x):\\n    return 1, x\\n")
            import edited_module
            cloudpickle.register_pickle_by_value(edited_module)
            """)
        ask = "print(list(executor.map(edited_module.answer, range(2))))"
        assert kernel.run(ask) == "[(1, 0), (1, 1)]\n"
        kernel.run("""
            module.write_text("def answer(x):\\n    return 22, x\\n")
            later = module.stat().st_mtime + 10
            os.utime(module, (later, later))
            """)
        assert kernel.run(ask) == "[(22, 0), (22, 1)]\n"

    def test_an_error_shows_the_item_and_its_line(self, kernel):
        request = kernel.start("""
            def fail(x):
                return 1 // (2 - x)
            list(executor.map(fail, range(5), 1))
            """)
        _, (name, traceback) = kernel.output(request)
        plain = re.sub(r"\x1b\[[0-9;]*m", "", traceback)
        assert name == "ZeroDivisionError"
        assert "item 2 = 2, in worker process" in plain
        assert "return 1 // (2 - x)" in plain
        assert re.search(r'  File ".*", line 2, in fail\n    return 1 // \(2 - x\)', plain)

    def test_a_global_changed_by_another_cell_counts_at_the_next_map(self, kernel):
        """A class that came back with a result still sees the notebook's globals."""
        ask = kernel.run("""
            import enum, functools
            factor = 1
            class Rank(enum.Enum):
                GENUS = 1, "g"
                def __init__(self, number, short): self.short = short
            class Tree:
                def scaled(self): return factor
            @functools.lru_cache
            def look(i): return Rank.GENUS.short, Tree()
            (seen,) = executor.map(look, [1])
            factor = 2
            print(seen[0], seen[1].scaled(), next(executor.map(lambda i: look(i)[1].scaled(), [1])))
            """)
        assert ask == "g 2 2\n"


class TestInterrupt:
    @pytest.mark.parametrize("chunksize", [None, 1, 10])
    def test_an_interrupt_stops_the_map_and_the_next_cell_works(self, kernel, tmp_path, chunksize):
        request = kernel.start(f"""
            import pathlib, time
            def sleep(i, directory=pathlib.Path({str(tmp_path)!r})):
                (directory / str(i)).touch()
                time.sleep(300)
            results = executor.map(sleep, range(100), {chunksize})
            print("started")
            list(results)
            """)
        kernel.output(request, until="started")
        end = time.monotonic() + 30
        while len(os.listdir(tmp_path)) < 2:
            assert time.monotonic() < end
            time.sleep(0.01)
        kernel.manager.interrupt_kernel()
        _, (name, _) = kernel.output(request, timeout=10)
        assert name == "KeyboardInterrupt"
        begun = set(os.listdir(tmp_path))
        assert "True" in kernel.run(
            "print(list(executor.map(lambda x: x * x, range(500))) == [x * x for x in range(500)])"
        )
        assert set(os.listdir(tmp_path)) == begun

    def test_an_interrupt_between_results_leaves_the_workers_alone(self, kernel):
        """Their map goes on in the next cell."""
        request = kernel.start("""
            import time
            results = executor.map(lambda x: (time.sleep(0.2), x)[1], range(20), 1)
            first = next(results)
            print("started")
            time.sleep(300)
            """)
        kernel.output(request, until="started")
        kernel.manager.interrupt_kernel()
        _, (name, _) = kernel.output(request, timeout=10)
        assert name == "KeyboardInterrupt"
        assert kernel.run("print([first, *results] == list(range(20)))") == "True\n"


class TestEnd:
    def test_the_end_of_a_kernel_leaves_no_worker(self, start_kernel, wait_until):
        """It is restarted, shut down or killed while its workers are busy."""
        kernel = start_kernel()
        busy = """
            import itertools, time
            results = executor.map(time.sleep, itertools.repeat(0.5), 1)
            next(results)
            """
        for end in (
            kernel.manager.restart_kernel,
            functools.partial(kernel.manager.restart_kernel, now=True),
            kernel.manager.shutdown_kernel,
        ):
            kernel.run(WARM)
            kernel.run(busy)
            workers = kernel.workers()
            assert len(workers) >= 2
            kernel.client.stop_channels()
            end()
            wait_until(lambda workers=workers: gone(workers), 50)
            if end != kernel.manager.shutdown_kernel:
                kernel.connect()


class TestNotebooks:
    @pytest.mark.parametrize("name", NOTEBOOKS)
    def test_notebooks_are_kept_without_outputs(self, name):
        cells = json.loads((ROOT / "docs" / name).read_text(encoding="utf-8"))["cells"]
        code = [cell for cell in cells if cell["cell_type"] == "code"]
        assert code
        assert not any(cell["outputs"] or cell["execution_count"] for cell in code)

    @pytest.mark.parametrize("name", NOTEBOOKS)
    def test_notebooks_run_from_top_to_bottom(self, name, tmp_path, monkeypatch):
        if name.startswith("phylozoo"):
            pytest.importorskip("phylozoo.utils.exceptions")
        monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
        monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path))
        notebook = nbformat.read(ROOT / "docs" / name, as_version=4)
        nbformat.validate(notebook)
        resources = {"metadata": {"path": str(tmp_path)}}
        nbclient.NotebookClient(notebook, timeout=120, resources=resources).execute()
        outputs = [out for cell in notebook.cells for out in cell.get("outputs", ())]
        assert not [out for out in outputs if out.get("name") == "stderr"]
        shown = "".join(
            out.get("text", "") + str(out.get("data", {}).get("text/plain", "")) for out in outputs
        )
        for expected in NOTEBOOKS[name]:
            assert expected in shown
