"""The images as containers: what callers see when whole services are lost, frozen, cut off."""
