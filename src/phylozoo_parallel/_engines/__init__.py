"""Where chunks run: one file for each kind of engine, and :mod:`.choose`, which picks one."""
