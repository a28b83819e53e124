"""Documents that are written from the code: protos, settings, the command, the contract's tests."""
