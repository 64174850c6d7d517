//! The range core: keys, range index and routing, store, log, snapshot codec, diff. No sockets, no clock, no Python.
