"""Line searches as small state machines: one loss and one slope go in, the next trial or a verdict comes out."""
