"""The images that `make images` builds: what is in them and how they start and end."""
