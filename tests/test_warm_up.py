"""Workers that are ready before the first map."""

import sys
import types

import pytest

from phylozoo_parallel import MultiprocessingExecutor, PhyloZooTypeError


def test_warm_up_starts_workers_that_import_modules(run_script):
    out = run_script(
        """
        import sys, time
        from phylozoo_parallel import MultiprocessingExecutor, ParallelConfig

        def loaded(name):
            time.sleep(0.05)
            return name in sys.modules

        if __name__ == "__main__":
            executor = MultiprocessingExecutor(2)
            from phylozoo_parallel._loky.start import current
            assert current() is None  # making one starts nothing
            executor.warm_up("wave", "xml.dom.minidom")
            assert len(current()._processes) == 2
            while current()._pending_work_items:
                time.sleep(0.01)
            assert "wave" not in sys.modules  # not here
            print(list(executor.map(loaded, ["wave", "xml.dom.minidom", "smtpd"] * 4)))
            executor.warm_up()
        """
    )
    assert out.stdout.strip() == str([True, True, False] * 4)


def test_a_map_may_follow_warm_up_at_once(executor):
    executor.warm_up("wave")
    assert list(executor.map(abs, range(-20, 0))) == list(range(20, 0, -1))


@pytest.mark.parametrize("backend", ["sequential", "threads"])
def test_warm_up_imports_in_the_caller_without_worker_processes(backend, request, monkeypatch):
    monkeypatch.delitem(sys.modules, "wave", raising=False)
    request.getfixturevalue(backend).warm_up("wave", sys)
    assert "wave" in sys.modules


def test_a_module_that_cannot_be_imported_does_no_harm(processes, tmp_path, monkeypatch):
    (tmp_path / "fails_once_imported.py").write_text("1 / 0")
    monkeypatch.syspath_prepend(str(tmp_path))
    processes.warm_up("fails_once_imported")
    assert list(processes.map(abs, [-1, -2])) == [1, 2]


def test_warm_up_refuses_what_is_no_module(executor):
    with pytest.raises(ModuleNotFoundError, match="no module 'nosuchmodule' to warm up"):
        executor.warm_up("nosuchmodule")
    with pytest.raises(PhyloZooTypeError, match="a module or its name"):
        executor.warm_up(3)


def test_warm_up_inside_a_worker_imports_there(processes):
    def nested(item):
        MultiprocessingExecutor(2).warm_up(types, "wave")
        return item

    assert list(processes.map(nested, range(4))) == list(range(4))
