"""What the end-to-end tests stand on: programs, peers, browsers, raw clients and waiting."""
