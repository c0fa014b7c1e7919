"""How a new kernel is made from its parents. `operators.base` holds the contract and the registry."""
