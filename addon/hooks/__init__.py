"""What happens when: the parts of the addon that touch flows and connections."""
