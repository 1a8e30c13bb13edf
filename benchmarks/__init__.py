"""How fast phylozoo-parallel is, and its rivals: ``python -m benchmarks``."""
