"""Every design of a small search space with its trials; the tables that come with the package lie here."""
