"""Native kernels: what is bound by memory, in as few passes over it as possible.

torch's own operations stay the reference, and run wherever the kernels cannot.
"""
