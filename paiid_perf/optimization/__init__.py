"""The runner, the ledger and the plan: observe → decide → act → prove → keep or revert."""
