"""Moving traffic between the tracks of a Helm release."""
