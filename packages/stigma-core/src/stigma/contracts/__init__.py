"""What Stigma's services agree on: names, ids, interfaces, errors and limits. No I/O."""
