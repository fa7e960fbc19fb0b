"""What the tests and benchmarks stand on: processes, a virtual microphone, speech, word error rates."""
