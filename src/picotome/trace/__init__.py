"""From tomogram to atoms, and how right they are: peaks, fits, species, matching and scoring."""
