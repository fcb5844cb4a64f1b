"""Analyzers: pure functions of the objects as they were written, one file for each noun.

In: ``Resources``, all objects and the mesh configuration. Out: ``Message`` values. An analyzer reads what it wants of
other objects; what has not the shape that it should have is passed over, since ``schema`` tells of it. ``table`` names
them all. They look at everything each time, so they are for a command and not for the loop of the control plane.
"""
