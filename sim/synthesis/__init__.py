"""What becomes of the gateware in an FPGA's tools: cells, area, clock."""
