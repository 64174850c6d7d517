"""Generated from proto/dstk/v1 by proto/generate.py."""
