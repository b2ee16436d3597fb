"""What each monitor measures and costs, without its mathematics. One file a family."""
