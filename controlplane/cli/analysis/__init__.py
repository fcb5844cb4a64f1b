"""Parts of the command ``analyze``: what it reads, which findings it tells of, and how."""
