"""The pocket base and its evaluators: data, networks, training, and the card that judges them."""
