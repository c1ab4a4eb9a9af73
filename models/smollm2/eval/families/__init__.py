"""The families of cases, one a module, and what they share."""
