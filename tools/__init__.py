"""What a developer runs: programs to fetch, and tools that check and measure."""
