"""The commands of ``sgdscope``, one file a purpose; cli.py puts them together."""
