"""Training: the thin subclass of Ultralytics' trainer, the monitor beside it, and the session around both."""
