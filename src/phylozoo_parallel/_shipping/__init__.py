"""How values reach another process: pickles, shared memory, and the page that both sides see."""
