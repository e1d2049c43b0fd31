"""The command's verbs, one file a noun. Each is imported only when it runs."""
