"""A directory of YAML and JSON as a source of objects.

``source`` follows the directory, ``watch`` hears what changed in it, ``tree`` lists its files, and ``file_index``
settles which file defines what.
"""
