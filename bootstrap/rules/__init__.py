"""What AWS enforces or advises, and what this system promises, as rules on the resolved templates. Pure."""
