"""Run the table, or cases of it, with the actions in ``__main__`` as in a user's script."""

import sys
from pathlib import Path

# What a script maps is found under no name in a worker: it travels by value. So the actions are
# run here, and whoever imports them gets this module.
_actions = Path(__file__).with_name("actions.py")
exec(compile(_actions.read_text("utf-8"), _actions, "exec"))
sys.modules[f"{__package__}.actions"] = sys.modules[__name__]

from . import runner  # noqa: E402

if __name__ == "__main__":
    runner.main(*sys.argv[1:])
