"""How long a thread was ready to run but had no core, because other programs were using them."""


def seconds_in_line() -> float:
    """Return these seconds of this thread so far; 0 on systems other than Linux."""
    try:
        with open("/proc/thread-self/schedstat", "rb") as file:
            return int(file.read().split()[1]) / 1e9
    except (OSError, IndexError, ValueError):
        return 0.0
