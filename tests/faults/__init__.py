"""
The fault table: what may go wrong, and what the caller is promised then.

::

    python -m tests.faults                 run every case; print a table in Markdown
    python -m tests.faults CASE BACKEND    run one; print what came of it as a line of JSON
    python -m tests.faults shared BACKEND  run those that leave everything as it was, one by one

    actions ──► cases (each a Case) ──► runner

A case has an interpreter of its own, or shares one with cases that, as it promises itself, leave
the workers and the program as they were. Where item 7 fails, the map is run again with
``return_exceptions=True``.
"""
