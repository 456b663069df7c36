"""Imported last by the process from which workers are forked: what stands there by then is left out of their garbage
collection, which would look at every object and so copy all of its memory (half of a short node's time).
"""

import gc

gc.collect()
gc.freeze()
