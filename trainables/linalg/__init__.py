"""Linear algebra known through products only: products, eigenpairs, trace, density."""
