"""A compiled document, the state of its runs, and what its operations may ask of a run."""
