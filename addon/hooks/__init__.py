"""The parts of the addon that handle flows and connections."""
