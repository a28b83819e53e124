"""References that are written from the code: protos, settings, the command."""
