"""Pure decisions of monitoring: the score, and when alerts open and resolve."""
