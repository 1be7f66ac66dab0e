"""The state database and what is kept in it: leases, breakers, budgets, kept results, decisions."""
