"""dstk in one process with simulated time: the real decisions, and models of all that carries them out.

``dstk.lifecycle`` and ``dstk.plan`` run as they are. Surroundings them are models of the API server, of the network, of
workers, operators and clients; `world` puts them together. A seed decides everything, so a failure repeats from it:
``python -m tests.simulation --first SEED --seeds 1 --trace``.
"""
