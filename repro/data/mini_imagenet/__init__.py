"""mini-ImageNet: the layouts of its copies, and the check that it is the right one."""
