"""What the operator and a worker say to each other, as plain data: commands one way, views and reports the other.

``commands`` are carried out by the node, ``views`` say what it holds. ``dstk.wire`` carries both, ``dstk.lifecycle``
decides from the one what to do by the other. Nothing here needs typed resources: a bare worker has none.
"""
