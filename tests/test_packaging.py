"""What is in the wheel, what importing it loads, what type checkers see, and how the rooms lie."""

from __future__ import annotations

import ast
import re
import sys
import zipfile
from collections.abc import Iterator
from graphlib import TopologicalSorter
from importlib.metadata import requires
from importlib.util import resolve_name
from pathlib import Path

import oldest
import pytest
from environments import (
    ROOT,
    newest_phylozoo,
    only_ours,
    our_wheel,
    phylozoo_version,
    run,
    with_phylozoo,
)

PACKAGE = ROOT / "src" / "phylozoo_parallel"
SOURCES = {
    ".".join(file.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__"): file
    for file in PACKAGE.rglob("*.py")
}
"""By the module's name in the package; the package's own is ``__init__``."""


def names(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def test_the_wheel_holds_the_package_and_the_shim() -> None:
    held = {name for name in names(our_wheel()) if ".dist-info/" not in name}
    shim = {"phylozoo/utils/parallel/__init__.py"}
    stubs = {"phylozoo-stubs/utils/parallel/__init__.pyi", "phylozoo-stubs/py.typed"}
    package = {f"phylozoo_parallel/{file.relative_to(PACKAGE)}" for file in SOURCES.values()}
    assert held == shim | stubs | package | {"phylozoo_parallel/py.typed"}


def test_phylozoo_has_no_package_where_the_shim_goes() -> None:
    theirs = names(newest_phylozoo())
    assert "phylozoo/utils/parallel.py" in theirs
    assert not [name for name in theirs if name.startswith("phylozoo/utils/parallel/")]


LOADED = "; import sys; print(*{name.partition('.')[0] for name in sys.modules})"


def loaded_by(code: str, directory: Path) -> set[str]:
    return set(run([sys.executable, "-c", code + LOADED], directory).stdout.split())


def test_importing_loads_neither_joblib_nor_numpy_nor_phylozoo(tmp_path: Path) -> None:
    loaded = loaded_by("from phylozoo_parallel import *", tmp_path)
    assert "phylozoo_parallel" in loaded
    assert not loaded & {"joblib", "loky", "cloudpickle", "numpy", "phylozoo"}


def test_the_sequential_backend_never_loads_joblib(tmp_path: Path) -> None:
    code = (
        "from phylozoo_parallel import ParallelConfig; run = ParallelConfig().get_executor(); "
        "assert [*run.map(abs, [-1]), *run.starmap(pow, [(2, 3)])] == [1, 8]; "
        "[ParallelConfig(name, n_jobs=2) for name in ('threading', 'multiprocessing')]"
    )
    assert not loaded_by(code, tmp_path) & {"joblib", "loky", "cloudpickle", "numpy"}


def test_workers_start_before_the_caller_imports_how_chunks_are_packed(tmp_path: Path) -> None:
    code = "import sys, phylozoo_parallel._engines.choose; print(*sys.modules, sep='\\n')"
    loaded = run([sys.executable, "-c", code], tmp_path).stdout.split()
    assert "phylozoo_parallel._engines.processes" in loaded
    assert "phylozoo_parallel._transport.processes" not in loaded


def test_a_worker_imports_nothing_that_only_callers_use(tmp_path: Path) -> None:
    code = (
        "from phylozoo_parallel import MultiprocessingExecutor; "
        "print(*next(MultiprocessingExecutor(2).map(eval, ['[*__import__(\"sys\").modules]'])))"
    )
    loaded = run([sys.executable, "-c", code], tmp_path).stdout.split()
    assert "phylozoo_parallel._worker.process" in loaded
    assert not {
        it for it in loaded if re.fullmatch(r"phylozoo_parallel\.(_map|_engines|[a-z]+)(\..+)?", it)
    } - {"phylozoo_parallel.errors"}


TYPED = """
from {module} import MultiprocessingExecutor, ParallelConfig, ParallelExecutor, ThreadingExecutor

def half(x: int) -> float:
    return x / 2

def repeat(word: str, times: int) -> str:
    return word * times

executor: ParallelExecutor = ParallelConfig("multiprocessing", n_jobs=2).get_executor()
reveal_type(list(executor.map(half, range(3))))
reveal_type(list(executor.starmap(repeat, [("a", 1)])))
reveal_type(list(ThreadingExecutor(2).map(len, ["a"])))
reveal_type(ParallelConfig().backend)
conforming: list[ParallelExecutor] = [ThreadingExecutor(), MultiprocessingExecutor(2)]
executor.map(half, ["not an integer"])
ParallelConfig(jobs=2)
"""


@pytest.mark.parametrize("module", ["phylozoo.utils.parallel", "phylozoo_parallel"])
@pytest.mark.parametrize("phylozoo", ["with PhyloZoo", "without PhyloZoo"])
def test_mypy_sees_the_types(module: str, phylozoo: str, tmp_path: Path) -> None:
    pytest.importorskip("mypy")
    environment = only_ours()
    if phylozoo == "with PhyloZoo":
        environment = with_phylozoo(phylozoo_version("newest"))
    file = tmp_path / "typed.py"
    file.write_text(TYPED.format(module=module))
    mypy = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", tmp_path / "cache"]
    done = run([*mypy, "--python-executable", environment.python, file], tmp_path, status=1)
    lines = done.stdout.replace("builtins.", "").splitlines()
    revealed = [line.split('"')[1] for line in lines if "Revealed type" in line]
    assert revealed == [
        "list[float]",
        "list[str]",
        "list[int]",
        "phylozoo_parallel.backend.ParallelBackend",
    ]
    errors = [line for line in lines if ": error:" in line]
    assert len(errors) == 2, done.stdout
    assert '"map"' in errors[0] or "List item" in errors[0]
    assert 'Unexpected keyword argument "jobs"' in errors[1]


ROOMS = [
    {"__main__"},
    {"__init__"},
    {"profiles"},
    {"_profile"},
    {"config"},
    {"executors"},
    {"executor"},
    {"_map"},
    {"_engines"},
    {"_listener", "_options"},
    {"_progress"},
    {"_loky", "_transport"},
    {"_chunk"},
    {"_worker"},
    {"_shipping"},
    {"backend", "errors", "lost", "protocol"},
]
"""From top to bottom: each may import those below it."""


def imported(name: str) -> Iterator[tuple[str, str]]:
    """Yield the module and the name of everything that a module of ours imports, anywhere in it."""
    for node in ast.walk(ast.parse(SOURCES[name].read_text())):
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = resolve_name("." * node.level + (node.module or ""), "phylozoo_parallel")
            yield from ((module, alias.name) for alias in node.names)


def ours(name: str) -> set[str]:
    """Return the modules of ours that a module of ours imports."""
    found = set()
    for module, what in imported(name):
        if module.partition(".")[0] == "phylozoo_parallel":
            inside = module.partition(".")[2]
            full = f"{inside}.{what}".strip(".")
            found.add(full if full in SOURCES else inside or "__init__")
    return found


def test_imports_point_downwards() -> None:
    depth = {name: number for number, rooms in enumerate(ROOMS) for name in rooms}
    upward = [
        f"{name} imports {other}"
        for name in SOURCES
        for other in ours(name)
        if (room := name.partition(".")[0]) != other.partition(".")[0]
        and depth[other.partition(".")[0]] <= depth[room]
    ]
    assert not upward


def test_no_imports_in_circles() -> None:
    graph = {name: ours(name) - {name} for name in SOURCES}
    assert sum(map(len, graph.values())) > 50  # the search itself works
    list(TopologicalSorter(graph).static_order())  # raises CycleError


def test_the_room_of_loky_knows_nothing_of_ours() -> None:
    inside = {name for name in SOURCES if name.startswith("_loky")}
    assert not {other for name in inside for other in ours(name)} - inside


def test_only_the_room_of_loky_uses_private_names_of_joblib() -> None:
    def insides(name: str) -> list[str]:
        tree = list(ast.walk(ast.parse(SOURCES[name].read_text())))
        used = [
            f"joblib.{node.attr}"
            for node in tree
            if isinstance(node, ast.Attribute)
            and isinstance(node.value, ast.Name)
            and node.value.id == "joblib"
        ]
        strings = [node.value for node in tree if isinstance(node, ast.Constant)]
        used += [
            it for it in strings if isinstance(it, str) and re.fullmatch(r"joblib\.[\w.]+", it)
        ]
        used += [f"{module}.{what}".rstrip(".") for module, what in imported(name)]
        return [
            path
            for path in used
            if path.startswith("joblib.") and path.split(".")[1:] not in public
        ]

    import joblib

    public = [[name] for name in joblib.__all__]
    leaning = {name.partition(".")[0] for name in SOURCES if insides(name)}
    assert leaning == {"_loky"}


def test_engines_use_no_private_names_of_what_joblib_gives_them() -> None:
    def foreign(name: str) -> set[str]:
        return {
            ast.unparse(node)
            for node in ast.walk(ast.parse(SOURCES[name].read_text()))
            if isinstance(node, ast.Attribute)
            and re.match("_[^_]", node.attr)
            and ast.unparse(node.value) not in ("self", "super()")
        }

    assert foreign("_loky.start")  # the search itself works
    found = {name: foreign(name) for name in SOURCES if name.startswith("_engines")}
    assert {name: used for name, used in found.items() if used} == {}


SYSTEMS_OWN = re.compile(
    r"sys\.platform|os\.name|_winapi|ctypes|fcntl|msvcrt|resource|termios|select\.poll"
    r"|os\.(O_TEMPORARY|O_TMPFILE|get.?pgid|getppid|killpg|memfd_create|posix_.+|sched_.+|setsid)"
    r"|signal\.(SIG(?!INT$|TERM$|_|nals).+|pthread_.+|set_wakeup_fd)|/(bin|dev|proc|sys)\b.*"
)
"""What is not the same everywhere: questions for the system, and what only some have."""

SYSTEMS_ROOMS = {
    "__main__": "os.sched_getaffinity",
    "_loky.contract": "_winapi",
    "_loky.direct": "sys.platform fcntl termios",
    "_loky.failure": "sys.platform select.poll",
    "_loky.new_workers": "sys.platform",
    "_loky.start": "sys.platform signal.pthread_sigmask",
    "_loky.trees": "sys.platform /bin/ps /proc /proc/ /proc/self/stat"
    " signal.SIGKILL signal.SIGSTOP",
    "_loky.waiting": "select.poll",
    "_loky.windows": "sys.platform _winapi",
    "_profile.in_line": "/proc/self/task",
    "_shipping.buffers": "ctypes",  # the user's objects of it
    "_shipping.memory": "sys.platform",
    "_shipping.memory_files": "sys.platform",
    "_shipping.memory_linux": "sys.platform /proc/ ctypes os.O_TMPFILE os.memfd_create",
    "_shipping.memory_windows": "sys.platform _winapi msvcrt os.O_TEMPORARY",
    "_worker.begin": "os.getppid os.name",
    "_worker.known": "os.getppid",
    "_worker.lifeline": "sys.platform /proc/ fcntl os.getppid signal.SIGKILL",
    "_worker.lifeline_windows": "sys.platform ctypes",
    "_worker.reaper": "sys.platform os.getpgid signal.SIGKILL",
}
"""By the rooms for it; all else is the same on every system."""


def systems_own(name: str) -> list[str]:
    """Return what a module of ours uses that is not the same on every system."""
    tree = list(ast.walk(ast.parse(SOURCES[name].read_text())))
    words = {id(node.value) for node in tree if isinstance(node, ast.Expr)}  # docstrings
    used = [module for module, _ in imported(name)]
    for node in tree:
        if isinstance(node, ast.Attribute):
            used.append(ast.unparse(node))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            used += [] if id(node) in words else [node.value]
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in ("getattr", "hasattr"):
            used.append(".".join(ast.unparse(it).strip("'") for it in node.args[:2]))
    return [it for it in used if SYSTEMS_OWN.fullmatch(it)]


def test_what_one_system_alone_has_is_in_the_rooms_for_it() -> None:
    found = {name: set(systems_own(name)) for name in SOURCES}
    rooms = {name: set(its.split()) for name, its in SYSTEMS_ROOMS.items()}
    assert {name: its for name, its in found.items() if its} == rooms


def test_each_room_asks_once_which_system_it_is_on() -> None:
    asked = {name: systems_own(name).count("sys.platform") for name in SYSTEMS_ROOMS}
    several = {name: count for name, count in asked.items() if count > 1}
    # Three answers, to one question; in the last, how many workers there are, and what of Ctrl-C.
    assert several == {"_shipping.memory": 2, "_worker.lifeline": 2, "_loky.start": 2}


def test_modules_stay_small() -> None:
    lines = {name: len(file.read_text().splitlines()) for name, file in SOURCES.items()}
    assert len(lines) > 30  # the count itself works
    assert {name: count for name, count in lines.items() if count > 350} == {}


def test_every_requirement_has_a_lower_bound_alone() -> None:
    """Otherwise the environment with the oldest releases could not know them."""
    pins = oldest.oldest(requires("phylozoo-parallel") or [])
    assert {"joblib", "loky", "cloudpickle"} < {pin.partition("==")[0] for pin in pins}
    assert len(pins) == len({pin.partition("==")[0] for pin in pins})


def test_the_oldest_of_what_two_extras_name_is_the_higher_bound() -> None:
    pins = oldest.oldest(
        ["a>=1.10; extra == 'x'", "a>=1.9; extra == 'y'", "b>=2; python_version < '3.11'"]
    )
    assert pins == ["a==1.10", "b==2; python_version < '3.11'"]
    both = ["c>=3; sys_platform == 'linux' and extra == 'x'"]
    assert oldest.oldest(both) == ["c==3; sys_platform == 'linux'"]
    for loose in "a", "a<3", "a>=1,<3":
        with pytest.raises(ValueError, match="lower bound"):
            oldest.oldest([loose])
