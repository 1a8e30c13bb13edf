"""How the chunks of one map travel to workers and back."""
