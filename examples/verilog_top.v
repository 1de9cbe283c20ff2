// A top that instantiates the generated core. Beside it:
//
//   nomul generate --output generated
//   iverilog -g2005 -s verilog_top examples/verilog_top.v generated/nomul_core.v
//
// The processor's bus and two DMA channels are the top's ports here. The reset of a board is
// asynchronous to the clock; the core's is synchronous, so it passes two registers.
`default_nettype none
module verilog_top (
    input  wire        clock,
    input  wire        reset_n,

    input  wire [11:0] bus_awaddr,
    input  wire        bus_awvalid,
    output wire        bus_awready,
    input  wire [31:0] bus_wdata,
    input  wire [3:0]  bus_wstrb,
    input  wire        bus_wvalid,
    output wire        bus_wready,
    output wire [1:0]  bus_bresp,
    output wire        bus_bvalid,
    input  wire        bus_bready,
    input  wire [11:0] bus_araddr,
    input  wire        bus_arvalid,
    output wire        bus_arready,
    output wire [31:0] bus_rdata,
    output wire [1:0]  bus_rresp,
    output wire        bus_rvalid,
    input  wire        bus_rready,

    input  wire [31:0] samples_data,
    input  wire [3:0]  samples_keep,
    input  wire        samples_last,
    input  wire        samples_valid,
    output wire        samples_ready,

    output wire [31:0] records_data,
    output wire [3:0]  records_keep,
    output wire        records_last,
    output wire        records_valid,
    input  wire        records_ready,

    output wire        irq
);
  reg [1:0] reset_sync_n;
  initial reset_sync_n = 2'b00;
  always @(posedge clock)
    reset_sync_n <= {reset_sync_n[0], reset_n};

  nomul_core core (
      .aclk(clock),
      .aresetn(reset_sync_n[1]),

      .s_axil_awaddr(bus_awaddr),
      .s_axil_awprot(3'b000),
      .s_axil_awvalid(bus_awvalid),
      .s_axil_awready(bus_awready),
      .s_axil_wdata(bus_wdata),
      .s_axil_wstrb(bus_wstrb),
      .s_axil_wvalid(bus_wvalid),
      .s_axil_wready(bus_wready),
      .s_axil_bresp(bus_bresp),
      .s_axil_bvalid(bus_bvalid),
      .s_axil_bready(bus_bready),
      .s_axil_araddr(bus_araddr),
      .s_axil_arprot(3'b000),
      .s_axil_arvalid(bus_arvalid),
      .s_axil_arready(bus_arready),
      .s_axil_rdata(bus_rdata),
      .s_axil_rresp(bus_rresp),
      .s_axil_rvalid(bus_rvalid),
      .s_axil_rready(bus_rready),

      .s_axis_tdata(samples_data),
      .s_axis_tkeep(samples_keep),
      .s_axis_tlast(samples_last),
      .s_axis_tvalid(samples_valid),
      .s_axis_tready(samples_ready),

      .m_axis_tdata(records_data),
      .m_axis_tkeep(records_keep),
      .m_axis_tlast(records_last),
      .m_axis_tvalid(records_valid),
      .m_axis_tready(records_ready),

      .irq(irq)
  );
endmodule
`default_nettype wire
