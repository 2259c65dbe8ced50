"""The distributions' kdump services: what they are set to, and vmsieve put into them and taken out again."""
