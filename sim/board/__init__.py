"""A board at a serial port: build its bitstream, talk to it."""
