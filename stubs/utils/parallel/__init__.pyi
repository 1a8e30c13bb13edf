# A package of stubs, since a py.typed beside the shim makes mypy take PhyloZoo itself for an empty
# namespace: `from phylozoo import MSA` was an error then. "partial" leaves the rest to PhyloZoo.
from phylozoo_parallel import *  # noqa: F403
