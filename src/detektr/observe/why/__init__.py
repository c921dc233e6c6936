"""Says what is wrong with a run, and whose fault it is: what was agreed, who is to blame, the words, the answer."""
