"""Support for tests and benchmarks: processes, faults, a virtual microphone, speech, word error rates."""
