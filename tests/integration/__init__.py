"""The failure contract and what else crosses services, on the real ones."""
