// Block RAM of the ECP5, 18 Kb, in the ways in which Yosys uses it: one clock for both ports, no output
// registers. Yosys itself has the cell as a black box.
//
// Written from Lattice's memory usage guide (FPGA-TN-02204): memory is in bytes of 9 bits, of which ports
// of 1, 2 and 4 bits use the lower 8. In the width 36 port A writes and port B reads, with the upper 18
// bits on the pins of the other port. A word that one port writes while the other reads it is undefined
// in silicon: it is x here, so that nothing can rely on it unseen.
module DP16KD(
    input DIA17, DIA16, DIA15, DIA14, DIA13, DIA12, DIA11, DIA10, DIA9, DIA8, DIA7, DIA6, DIA5, DIA4, DIA3, DIA2, DIA1, DIA0,
    input ADA13, ADA12, ADA11, ADA10, ADA9, ADA8, ADA7, ADA6, ADA5, ADA4, ADA3, ADA2, ADA1, ADA0,
    input CEA, OCEA, CLKA, WEA, RSTA, CSA2, CSA1, CSA0,
    output DOA17, DOA16, DOA15, DOA14, DOA13, DOA12, DOA11, DOA10, DOA9, DOA8, DOA7, DOA6, DOA5, DOA4, DOA3, DOA2, DOA1, DOA0,
    input DIB17, DIB16, DIB15, DIB14, DIB13, DIB12, DIB11, DIB10, DIB9, DIB8, DIB7, DIB6, DIB5, DIB4, DIB3, DIB2, DIB1, DIB0,
    input ADB13, ADB12, ADB11, ADB10, ADB9, ADB8, ADB7, ADB6, ADB5, ADB4, ADB3, ADB2, ADB1, ADB0,
    input CEB, OCEB, CLKB, WEB, RSTB, CSB2, CSB1, CSB0,
    output DOB17, DOB16, DOB15, DOB14, DOB13, DOB12, DOB11, DOB10, DOB9, DOB8, DOB7, DOB6, DOB5, DOB4, DOB3, DOB2, DOB1, DOB0
);
  parameter DATA_WIDTH_A = 18;
  parameter DATA_WIDTH_B = 18;
  parameter REGMODE_A = "NOREG";
  parameter REGMODE_B = "NOREG";
  parameter RESETMODE = "SYNC";
  parameter ASYNC_RESET_RELEASE = "SYNC";
  parameter CSDECODE_A = "0b000";
  parameter CSDECODE_B = "0b000";
  parameter WRITEMODE_A = "NORMAL";
  parameter WRITEMODE_B = "NORMAL";
  parameter CLKAMUX = "CLKA";
  parameter CLKBMUX = "CLKB";
  parameter GSR = "ENABLED";
  parameter [319:0] INITVAL_00 = 320'd0;
  parameter [319:0] INITVAL_01 = 320'd0;
  parameter [319:0] INITVAL_02 = 320'd0;
  parameter [319:0] INITVAL_03 = 320'd0;
  parameter [319:0] INITVAL_04 = 320'd0;
  parameter [319:0] INITVAL_05 = 320'd0;
  parameter [319:0] INITVAL_06 = 320'd0;
  parameter [319:0] INITVAL_07 = 320'd0;
  parameter [319:0] INITVAL_08 = 320'd0;
  parameter [319:0] INITVAL_09 = 320'd0;
  parameter [319:0] INITVAL_0A = 320'd0;
  parameter [319:0] INITVAL_0B = 320'd0;
  parameter [319:0] INITVAL_0C = 320'd0;
  parameter [319:0] INITVAL_0D = 320'd0;
  parameter [319:0] INITVAL_0E = 320'd0;
  parameter [319:0] INITVAL_0F = 320'd0;
  parameter [319:0] INITVAL_10 = 320'd0;
  parameter [319:0] INITVAL_11 = 320'd0;
  parameter [319:0] INITVAL_12 = 320'd0;
  parameter [319:0] INITVAL_13 = 320'd0;
  parameter [319:0] INITVAL_14 = 320'd0;
  parameter [319:0] INITVAL_15 = 320'd0;
  parameter [319:0] INITVAL_16 = 320'd0;
  parameter [319:0] INITVAL_17 = 320'd0;
  parameter [319:0] INITVAL_18 = 320'd0;
  parameter [319:0] INITVAL_19 = 320'd0;
  parameter [319:0] INITVAL_1A = 320'd0;
  parameter [319:0] INITVAL_1B = 320'd0;
  parameter [319:0] INITVAL_1C = 320'd0;
  parameter [319:0] INITVAL_1D = 320'd0;
  parameter [319:0] INITVAL_1E = 320'd0;
  parameter [319:0] INITVAL_1F = 320'd0;
  parameter [319:0] INITVAL_20 = 320'd0;
  parameter [319:0] INITVAL_21 = 320'd0;
  parameter [319:0] INITVAL_22 = 320'd0;
  parameter [319:0] INITVAL_23 = 320'd0;
  parameter [319:0] INITVAL_24 = 320'd0;
  parameter [319:0] INITVAL_25 = 320'd0;
  parameter [319:0] INITVAL_26 = 320'd0;
  parameter [319:0] INITVAL_27 = 320'd0;
  parameter [319:0] INITVAL_28 = 320'd0;
  parameter [319:0] INITVAL_29 = 320'd0;
  parameter [319:0] INITVAL_2A = 320'd0;
  parameter [319:0] INITVAL_2B = 320'd0;
  parameter [319:0] INITVAL_2C = 320'd0;
  parameter [319:0] INITVAL_2D = 320'd0;
  parameter [319:0] INITVAL_2E = 320'd0;
  parameter [319:0] INITVAL_2F = 320'd0;
  parameter [319:0] INITVAL_30 = 320'd0;
  parameter [319:0] INITVAL_31 = 320'd0;
  parameter [319:0] INITVAL_32 = 320'd0;
  parameter [319:0] INITVAL_33 = 320'd0;
  parameter [319:0] INITVAL_34 = 320'd0;
  parameter [319:0] INITVAL_35 = 320'd0;
  parameter [319:0] INITVAL_36 = 320'd0;
  parameter [319:0] INITVAL_37 = 320'd0;
  parameter [319:0] INITVAL_38 = 320'd0;
  parameter [319:0] INITVAL_39 = 320'd0;
  parameter [319:0] INITVAL_3A = 320'd0;
  parameter [319:0] INITVAL_3B = 320'd0;
  parameter [319:0] INITVAL_3C = 320'd0;
  parameter [319:0] INITVAL_3D = 320'd0;
  parameter [319:0] INITVAL_3E = 320'd0;
  parameter [319:0] INITVAL_3F = 320'd0;

  wire [13:0] address_a = {ADA13, ADA12, ADA11, ADA10, ADA9, ADA8, ADA7, ADA6, ADA5, ADA4, ADA3, ADA2, ADA1, ADA0};
  wire [13:0] address_b = {ADB13, ADB12, ADB11, ADB10, ADB9, ADB8, ADB7, ADB6, ADB5, ADB4, ADB3, ADB2, ADB1, ADB0};
  wire [35:0] data_a = {DIB17, DIB16, DIB15, DIB14, DIB13, DIB12, DIB11, DIB10, DIB9, DIB8, DIB7, DIB6, DIB5, DIB4, DIB3, DIB2, DIB1, DIB0,
                        DIA17, DIA16, DIA15, DIA14, DIA13, DIA12, DIA11, DIA10, DIA9, DIA8, DIA7, DIA6, DIA5, DIA4, DIA3, DIA2, DIA1, DIA0};
  wire [17:0] data_b = data_a[35:18];
  wire enable_a = CEA & ~CSA2 & ~CSA1 & ~CSA0;
  wire enable_b = CEB & ~CSB2 & ~CSB1 & ~CSB0;
  wire write_a = enable_a & WEA & ~RSTA
    & (DATA_WIDTH_A < 18 | (DATA_WIDTH_A == 18 ? address_a[1:0] != 0 : address_a[3:0] != 0));
  wire write_b = enable_b & WEB & ~RSTB & (DATA_WIDTH_B < 18 | address_b[1:0] != 0);
  wire clear_a = RSTA & (RESETMODE == "ASYNC");
  wire clear_b = RSTB & (RESETMODE == "ASYNC");

  reg [8:0] memory [0:2047];
  reg [35:0] read_a, read_b;
  assign {DOA17, DOA16, DOA15, DOA14, DOA13, DOA12, DOA11, DOA10, DOA9, DOA8, DOA7, DOA6, DOA5, DOA4, DOA3, DOA2, DOA1, DOA0} =
    DATA_WIDTH_B == 36 ? read_b[17:0] : read_a[17:0];
  assign {DOB17, DOB16, DOB15, DOB14, DOB13, DOB12, DOB11, DOB10, DOB9, DOB8, DOB7, DOB6, DOB5, DOB4, DOB3, DOB2, DOB1, DOB0} =
    DATA_WIDTH_B == 36 ? read_b[35:18] : read_b[17:0];

  // A word of 18 bits stands in 20 bits of a parameter.
  wire [20479:0] content = {
    INITVAL_3F, INITVAL_3E, INITVAL_3D, INITVAL_3C, INITVAL_3B, INITVAL_3A, INITVAL_39, INITVAL_38,
    INITVAL_37, INITVAL_36, INITVAL_35, INITVAL_34, INITVAL_33, INITVAL_32, INITVAL_31, INITVAL_30,
    INITVAL_2F, INITVAL_2E, INITVAL_2D, INITVAL_2C, INITVAL_2B, INITVAL_2A, INITVAL_29, INITVAL_28,
    INITVAL_27, INITVAL_26, INITVAL_25, INITVAL_24, INITVAL_23, INITVAL_22, INITVAL_21, INITVAL_20,
    INITVAL_1F, INITVAL_1E, INITVAL_1D, INITVAL_1C, INITVAL_1B, INITVAL_1A, INITVAL_19, INITVAL_18,
    INITVAL_17, INITVAL_16, INITVAL_15, INITVAL_14, INITVAL_13, INITVAL_12, INITVAL_11, INITVAL_10,
    INITVAL_0F, INITVAL_0E, INITVAL_0D, INITVAL_0C, INITVAL_0B, INITVAL_0A, INITVAL_09, INITVAL_08,
    INITVAL_07, INITVAL_06, INITVAL_05, INITVAL_04, INITVAL_03, INITVAL_02, INITVAL_01, INITVAL_00
  };
  integer unit;
  initial begin
    for (unit = 0; unit < 2048; unit = unit + 1)
      memory[unit] = content[20 * (unit / 2) + 9 * (unit % 2) +: 9];
    read_a = 0;
    read_b = 0;
  end

  // The bits of an address that tell words apart; those below are byte enables from 18 bits on.
  function [13:0] mask(input integer width);
    case (width)
      1: mask = 14'h3fff;
      2: mask = 14'h3ffe;
      4: mask = 14'h3ffc;
      9: mask = 14'h3ff8;
      18: mask = 14'h3ff0;
      default: mask = 14'h3fe0;
    endcase
  endfunction
  wire same = ((address_a ^ address_b) & mask(DATA_WIDTH_A) & mask(DATA_WIDTH_B)) == 0;

  function [35:0] word(input integer width, input [13:0] address);
    reg [10:0] first;
    begin
      // The byte that the word begins with.
      first = (address & mask(width)) >> 3;
      word = {memory[first | 3], memory[first | 2], memory[first | 1], memory[first]};
      case (width)
        1: word = word[address[2:0]];
        2: word = word[{address[2:1], 1'b0} +: 2];
        4: word = word[{address[2], 2'b00} +: 4];
        9: word = word[8:0];
        18: word = word[17:0];
        default: ;
      endcase
    end
  endfunction

  task write(input integer width, input [13:0] address, input [35:0] data);
    integer part;
    case (width)
      1: memory[address[13:3]][address[2:0]] <= data[0];
      2: memory[address[13:3]][{address[2:1], 1'b0} +: 2] <= data[1:0];
      4: memory[address[13:3]][{address[2], 2'b00} +: 4] <= data[3:0];
      9: memory[address[13:3]] <= data[8:0];
      // Lowest bits of the address are byte enables.
      default:
        for (part = 0; part < width / 9; part = part + 1)
          if (address[part])
            memory[(address & mask(width)) >> 3 | part] <= data[9 * part +: 9];
    endcase
  endtask

  always @(posedge CLKA)
    if (write_a)
      write(DATA_WIDTH_A, address_a, data_a);

  always @(posedge CLKA or posedge clear_a)
    if (clear_a)
      read_a <= 0;
    else if (RSTA)
      read_a <= 0;
    else if (enable_a) begin
      if (!WEA)
        read_a <= write_b && same ? 36'bx : word(DATA_WIDTH_A, address_a);
      else if (WRITEMODE_A == "READBEFOREWRITE")
        read_a <= word(DATA_WIDTH_A, address_a);
    end

  always @(posedge CLKB)
    if (write_b)
      write(DATA_WIDTH_B, address_b, {18'd0, data_b});

  always @(posedge CLKB or posedge clear_b)
    if (clear_b)
      read_b <= 0;
    else if (RSTB)
      read_b <= 0;
    else if (enable_b) begin
      if (!WEB)
        read_b <= write_a && same ? 36'bx : word(DATA_WIDTH_B, address_b);
      else if (WRITEMODE_B == "READBEFOREWRITE")
        read_b <= word(DATA_WIDTH_B, address_b);
    end

  initial
    if (REGMODE_A != "NOREG" || REGMODE_B != "NOREG" || CLKAMUX != "CLKA"
        || CLKBMUX != "CLKB" || WRITEMODE_A == "WRITETHROUGH" || WRITEMODE_B == "WRITETHROUGH") begin
      $display("DP16KD: a mode that this model does not have");
      $finish;
    end
endmodule
