"""One object as a person wrote it, checked as strictly as can be: for the command ``validate`` and for the webhook."""
