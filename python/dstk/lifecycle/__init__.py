"""How a partition comes to be, is split, merged and moved: pure decisions over plain data, no I/O and no
clock.
"""
