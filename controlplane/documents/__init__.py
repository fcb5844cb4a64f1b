"""Text that people or peers wrote, to plain values: the only place where YAML and JSON are read.

In: text of files, watches, annotations, webhooks, tokens. Out: values as JSON has them, never more than ``MAX_DEPTH``
deep, and no larger than the text by more than ``limits`` allows for aliases. ``yaml_reader`` and ``json_reader`` read,
``extent`` measures a value that came another way, ``places`` finds the line that a problem's path leads to.

What may go wrong is a value too where a text holds several documents: ``Unreadable``, with its line and the reason.
Where there is one value, ``UnreadableError`` is raised, and nothing else, whatever the text is.
"""
