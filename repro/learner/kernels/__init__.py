"""Native kernels for memory-bound operations, with as few passes over memory as possible.

torch's own operations stay the reference, and run wherever the kernels cannot.
"""
