"""Agreements of Stigma's services: names, ids, interfaces, errors and limits. No I/O."""
