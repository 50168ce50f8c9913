"""The targets of this project, line by line: measured, then passed or failed.

cpu.py has the lines of the mode targets, cuda.py those that the throughput measures on a device.
"""
