"""One map, in the caller: what to send, what has come back, and what to hand out next."""
