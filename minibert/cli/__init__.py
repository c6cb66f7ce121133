"""The command `minibert`: one file a command, answers on stdout, progress and complaints on stderr."""
