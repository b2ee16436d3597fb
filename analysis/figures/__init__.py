"""The figures of a report: one file a family, put in order by book.py."""
