//! The network around the core: data server, replication, forwarding, client. No Python.
