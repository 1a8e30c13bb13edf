"""What `__main__` may hold: each kind works in the worker as it does here, or is refused."""

import sys
import types

import pytest

from tests.main_kinds import REFUSED, TOLD, WORKS

pytestmark = pytest.mark.core


@pytest.fixture
def program(monkeypatch):
    """Run code as the main module of this process."""

    def run(code, name="<program>"):
        module = types.ModuleType("__main__")
        monkeypatch.setitem(sys.modules, "__main__", module)
        exec(compile(code, name, "exec"), module.__dict__)
        return module

    return run


@pytest.mark.parametrize("kind", WORKS)
def test_it_means_the_same_in_the_worker(processes, program, kind):
    for package in "attrs", "lazy_loader", "six", "numpy":
        if f"import {package}" in WORKS[kind]:
            pytest.importorskip(package)
    main = program(WORKS[kind])
    seen = list(processes.map(main.f, [1, 2]))
    assert seen == [main.f(1), main.f(2)]
    if hasattr(main, "check"):
        main.check(processes)


@pytest.mark.parametrize("kind", REFUSED)
def test_the_object_is_named_that_cannot_travel(processes, program, kind):
    if "numpy" in kind:
        pytest.importorskip("numpy")
    main = program(REFUSED[kind])
    place, remedy = TOLD[kind]
    with pytest.raises(Exception, match="could not be pickled") as caught:
        processes.map(main.f, [1, 2])
    getattr(main, "close", int)()
    assert f"cannot pickle {place}" in str(caught.value)
    assert remedy in str(caught.value)
