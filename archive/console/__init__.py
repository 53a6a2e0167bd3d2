"""Pages for people: signing in, and the console; must not hold a rule: that is for the services."""
