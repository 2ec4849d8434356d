"""Video files: read frames with their own time stamps, write segments, merge with the copied streams."""
