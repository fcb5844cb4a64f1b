"""The page under ``/ui``: what operators look at, made on the server from the same views as the API.

``pages`` answers each screen: it awaits views of ``api``, and hands their models to a template; ``words`` holds what
templates call: ages, links, and the one function that every text goes through before it is shown. ``picture`` lays
the topology out. A browser gets HTML that works without scripts; ``static/page.js`` has it follow the events.

Texts of users and peers are hostile until shown: Jinja escapes them, ``words.safe`` takes control characters out of
them and cuts them, and the content security policy allows nothing but this port's own files. Nothing here changes
anything.
"""
