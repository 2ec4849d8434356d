"""How weights come to be: data, losses, the training loops, and the measuring of the result."""
