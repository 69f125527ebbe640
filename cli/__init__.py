"""The `dlcore` command: words of the user become a validated configuration and calls of `dlcore.tasks`.  No maths here."""
