"""Where chunks run: one file a kind of engine, and what chooses between them."""
