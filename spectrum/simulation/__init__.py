"""Traffic and floods made up, as samples and as packets that are sent: for trials, scores and tests."""
