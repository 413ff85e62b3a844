"""What a node pays and is paid, on a ledger that may be slow or out of reach: nothing waits for it."""
