"""Running programs: an explicit stack of frames, advanced by one interpreter."""
