"""Range-sharded stateful services on Kubernetes, from Python."""
