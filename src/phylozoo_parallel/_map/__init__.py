"""One map, in the caller: what is sent, what has come back, and what to hand out next."""
