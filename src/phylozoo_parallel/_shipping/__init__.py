"""How values get to another process: pickles, shared memory, and the board that both sides see."""
