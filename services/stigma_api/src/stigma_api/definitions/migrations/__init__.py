"""The registry's schema, one step a release."""
