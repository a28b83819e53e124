"""The documents: their commands run, their references fresh, their links alive."""
