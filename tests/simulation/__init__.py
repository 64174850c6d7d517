"""dstk in one process with simulated time: the operator, the worker's control service and the Rust node that ship.

They run as they are, on an event loop whose clock jumps to what is due next, and meet the world by the ports that they
have anyway: an API server (`ApiPort`), workers (`Client`), kopf (`Daemons`), a clock. What is simulated is what lies
beyond: the API server, the network, disks that crash, pods that come and go, clients. `world` puts them together. A seed
decides everything, so a failure repeats from it, byte for byte:
``python -m tests.simulation --first SEED --seeds 1 --trace``.
"""
