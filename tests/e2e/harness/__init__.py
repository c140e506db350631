"""What the end-to-end tests and the benches stand on."""

from .priority import forgo_real_time

# Before anything can start a thread that should not have it.
forgo_real_time()
