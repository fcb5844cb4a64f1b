"""Go's ``text/template``, with the functions of sprig that templates of Kubernetes objects use.

In: the text of a template, functions, a value. Out: the text that it makes of the value. ``lexer``, ``words`` and
``parser`` turn the text into ``nodes`` once, ``evaluate`` runs them; ``values`` says what is true, what is equal and
how a value is printed; ``functions`` are those of the language, ``sprig_*`` those of sprig.

Values are those of JSON. A struct of Go's is a ``Record``, which knows its fields by their names in Go. Not there are
methods (but ``Get...`` of messages), ``call``, complex numbers, and functions of sprig that read the clock, chance, the
network or the environment. What is not there, or fails, is a ``TemplateError`` with the template's name and the line;
a template ends after so many steps and so much text, whatever it says.
"""
