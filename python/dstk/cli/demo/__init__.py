"""`dstk demo`: a whole cluster on this machine that splits, merges and moves partitions under a verifying load."""
