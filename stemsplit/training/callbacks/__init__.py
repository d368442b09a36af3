"""Lightning callbacks for training."""
