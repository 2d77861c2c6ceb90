"""The ground floor: speech in, ticks out. No sockets, no web framework, no torch."""
