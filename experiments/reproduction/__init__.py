"""The paper's tables and figures, one readable file each: what the paper shows, what is done here, and what differs."""
