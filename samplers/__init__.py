"""Reverse diffusion, guidance, and the command line."""
