"""Tests on three hosts of a real cluster, on this machine: `make test-cluster`."""
