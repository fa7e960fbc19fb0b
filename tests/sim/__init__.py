"""A deterministic simulation: the services' own code, one thread, virtual time, and a seed that decides all chance."""
