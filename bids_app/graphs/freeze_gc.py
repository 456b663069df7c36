"""Imported last by the process from which workers are forked: excludes all existing objects from their garbage
collection, which would touch every object and so copy all of its memory (half of a short node's time).
"""

import gc

gc.collect()
gc.freeze()
