// The core as Verilator compiled it, between a processor, a source of packets and a sink of records:
// see sim/mutation/core.py.
//
// What stands on a bus while its valid is 0 is random, so that it cannot matter unnoticed.

#include "Vtop.h"
#include "verilated.h"

#include <cstdint>
#include <cstring>
#include <vector>

namespace {

constexpr int64_t padded(int64_t bytes) { return (bytes + 7) / 8 * 8; }

constexpr int64_t BEAT = sizeof Vtop::s_axis_tdata;

struct Beat {
    uint8_t data[BEAT];
    uint16_t keep;
    uint8_t last;

    bool operator==(const Beat& other) const {
        return !std::memcmp(data, other.data, BEAT) && keep == other.keep && last == other.last;
    }
};

// What a core must never do, whatever it is asked; bits of `Core::violations`.
enum Violation { RECORD = 1, WRITE_ANSWER = 2, READ_ANSWER = 4, UNASKED = 8, LATE = 16 };

// Clocks after which an access is given up.
constexpr int PATIENCE = 100;

struct Core {
    VerilatedContext context;
    Vtop top{&context};
    uint64_t random = 1;
    // Of 256 chances, how many make a stream pause in a clock, or the bus before it goes on.
    int32_t pauses = 0;
    // Of a record: the word that comes next, and the first one that is not taken, unless below 0.
    int word = 0, hold = -1;
    std::vector<Beat> packets, records;
    size_t sent = 0;
    std::vector<uint8_t> probes, valid, ready;
    bool recording = false;
    int64_t clocks = 0;
    uint32_t violations = 0;
    // What stands until it is taken.
    bool record_waits = false, write_waits = false, read_waits = false;
    Beat record;
    uint32_t write_answer = 0, read_answer = 0, read_data = 0;
    // Accesses that were taken and are not answered yet.
    bool write_taken = false, read_taken = false;

    uint32_t draw() {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        return static_cast<uint32_t>(random >> 32);
    }
    // What stands on a bus of words: 0 often, as an untouched bus has it.
    uint32_t idle_word() { return draw() & 3 ? draw() : 0; }
    bool pause() { return static_cast<int32_t>(draw() & 255) < pauses; }
    void scatter(void* bytes, size_t count) {
        for (size_t i = 0; i < count; ++i)
            static_cast<uint8_t*>(bytes)[i] = static_cast<uint8_t>(draw());
    }

    Beat record_now() {
        Beat beat{};
        std::memcpy(beat.data, &top.m_axis_tdata, BEAT);
        beat.keep = top.m_axis_tkeep;
        beat.last = top.m_axis_tlast;
        return beat;
    }

    // Look at the clock that has begun, whose inputs are those at the pins: see sim.harness.bench.
    void observe() {
        if (recording) {
            const auto* row = reinterpret_cast<const uint8_t*>(&top.probes);
            probes.insert(probes.end(), row, row + sizeof top.probes);
            probes.resize(probes.size() + padded(sizeof top.probes) - sizeof top.probes);
            valid.push_back(top.samples_valid);
            ready.push_back(top.predictions_ready);
        }
        const Beat beat = record_now();
        if (record_waits && !(top.m_axis_tvalid && beat == record))
            violations |= RECORD;
        if (top.m_axis_tvalid && top.m_axis_tready) {
            records.push_back(beat);
            word = beat.last ? 0 : word + 1;
        }
        record_waits = top.m_axis_tvalid && !top.m_axis_tready;
        record = beat;
        if (top.s_axis_tvalid && top.s_axis_tready) {
            ++sent;
            top.s_axis_tvalid = 0;
        }
        if ((top.s_axil_bvalid && !write_taken) || (top.s_axil_rvalid && !read_taken))
            violations |= UNASKED;
        if (write_waits && !(top.s_axil_bvalid && top.s_axil_bresp == write_answer))
            violations |= WRITE_ANSWER;
        if (read_waits && !(top.s_axil_rvalid && top.s_axil_rresp == read_answer
                            && top.s_axil_rdata == read_data))
            violations |= READ_ANSWER;
        write_waits = top.s_axil_bvalid && !top.s_axil_bready;
        read_waits = top.s_axil_rvalid && !top.s_axil_rready;
        write_answer = top.s_axil_bresp;
        read_answer = top.s_axil_rresp;
        read_data = top.s_axil_rdata;
        if (top.s_axil_bvalid && top.s_axil_bready) write_taken = false;
        if (top.s_axil_rvalid && top.s_axil_rready) read_taken = false;
        if (top.s_axil_awvalid && top.s_axil_awready && top.s_axil_wvalid && top.s_axil_wready)
            write_taken = true;
        if (top.s_axil_arvalid && top.s_axil_arready) read_taken = true;
    }

    // Set the streams' inputs of the next clock.
    void drive() {
        if (!top.s_axis_tvalid) {
            if (sent < packets.size() && !pause()) {
                const Beat& beat = packets[sent];
                std::memcpy(&top.s_axis_tdata, beat.data, BEAT);
                top.s_axis_tkeep = beat.keep;
                top.s_axis_tlast = beat.last;
                top.s_axis_tvalid = 1;
            } else {
                scatter(&top.s_axis_tdata, BEAT);
                top.s_axis_tkeep = draw() & ((1u << BEAT) - 1);
                top.s_axis_tlast = draw() & 1;
            }
        }
        top.m_axis_tready = !pause() && (hold < 0 || word < hold);
    }

    // Begin a clock, with the inputs at the pins.
    void begin() {
        top.aclk = 0;
        top.eval();
        top.aclk = 1;
        top.eval();
        ++clocks;
    }

    void clock() {
        drive();
        begin();
        observe();
    }
};

// One access of the bus.
struct Access {
    bool wanted = false, address_sent = false, data_sent = false, done = false;
    // Clock in which all of it has been offered, and in which its answer showed.
    int64_t offered = -1, answered = -1;
    int address_from = 0, data_from = 0, ready_from = 0;
};

}  // namespace

#define EXPORT extern "C" __attribute__((visibility("default")))

// Bytes of a beat, and of a row of probes.
EXPORT void core_sizes(int64_t* sizes) {
    sizes[0] = BEAT;
    sizes[1] = padded(sizeof Vtop::probes);
}

EXPORT Core* core_open(const char* mutant, uint64_t seed) {
    auto* core = new Core;
    const char* arguments[] = {"nomul", mutant};
    core->context.commandArgs(2, arguments);
    core->random = seed * 0x9E3779B97F4A7C15u | 1;
    core->begin();
    return core;
}

EXPORT void core_close(Core* core) { delete core; }

EXPORT void core_pauses(Core* core, int32_t pauses) { core->pauses = pauses; }

EXPORT void core_hold(Core* core, int32_t word) { core->hold = word; }

// Beats of packets that wait.
EXPORT int64_t core_waiting(const Core* core) {
    return static_cast<int64_t>(core->packets.size() - core->sent);
}

EXPORT int64_t core_clock(const Core* core) { return core->clocks; }

EXPORT uint32_t core_violations(const Core* core) { return core->violations; }

EXPORT int32_t core_irq(const Core* core) { return core->top.irq; }

// A record that was offered may be withdrawn in the next clocks: a command abandons it.
EXPORT void core_forgive(Core* core) { core->record_waits = false; }

// Reset for some clocks; the next one is the first without. Packets and records are gone.
EXPORT void core_reset(Core* core, int32_t clocks) {
    Vtop& top = core->top;
    top.aresetn = 0;
    top.s_axil_awvalid = top.s_axil_wvalid = top.s_axil_arvalid = 0;
    top.s_axil_bready = top.s_axil_rready = 0;
    top.s_axis_tvalid = top.m_axis_tready = 0;
    core->recording = false;
    for (int clock = 0; clock < clocks; ++clock) core->begin();
    core->packets.clear();
    core->sent = 0;
    core->records.clear();
    core->word = 0;
    core->record_waits = core->write_waits = core->read_waits = false;
    core->write_taken = core->read_taken = false;
    top.aresetn = 1;
}

EXPORT void core_run(Core* core, int64_t clocks) {
    for (int64_t clock = 0; clock < clocks; ++clock) core->clock();
}

// Run until so many beats of records have come, or so many clocks have gone; return the beats.
EXPORT int64_t core_wait(Core* core, int64_t beats, int64_t clocks) {
    for (; clocks > 0 && static_cast<int64_t>(core->records.size()) < beats; --clocks)
        core->clock();
    return static_cast<int64_t>(core->records.size());
}

// Run until the interrupt is as wanted, or so many clocks have gone.
EXPORT void core_wait_irq(Core* core, int32_t wanted, int64_t clocks) {
    for (; clocks > 0 && core->top.irq != wanted; --clocks) core->clock();
}

// Queue beats of packets. Rows: data, TKEEP in two bytes, TLAST.
EXPORT void core_send(Core* core, const uint8_t* rows, int64_t count) {
    for (int64_t row = 0; row < count; ++row, rows += BEAT + 3) {
        Beat beat{};
        std::memcpy(beat.data, rows, BEAT);
        beat.keep = static_cast<uint16_t>(rows[BEAT] | rows[BEAT + 1] << 8);
        beat.last = rows[BEAT + 2];
        core->packets.push_back(beat);
    }
}

// Take the beats of records that have come, rows as above.
EXPORT void core_take(Core* core, uint8_t* rows) {
    for (const Beat& beat : core->records) {
        std::memcpy(rows, beat.data, BEAT);
        rows[BEAT] = static_cast<uint8_t>(beat.keep);
        rows[BEAT + 1] = static_cast<uint8_t>(beat.keep >> 8);
        rows[BEAT + 2] = beat.last;
        rows += BEAT + 3;
    }
    core->records.clear();
}

// Record from the next clock on, or stop.
EXPORT void core_record(Core* core, int32_t on) { core->recording = on; }

EXPORT int64_t core_recorded_clocks(const Core* core) {
    return static_cast<int64_t>(core->valid.size());
}

// Take what was recorded.
EXPORT void core_recorded(Core* core, uint8_t* probes, uint8_t* valid, uint8_t* ready) {
    std::memcpy(probes, core->probes.data(), core->probes.size());
    std::memcpy(valid, core->valid.data(), core->valid.size());
    std::memcpy(ready, core->ready.data(), core->ready.size());
    core->probes.clear();
    core->valid.clear();
    core->ready.clear();
}

// Access a register: write, read, or both at once. `words` is the write's address, data, strobes,
// the read's address; it becomes the write's response and clocks, the read's response, clocks and
// data. Clocks are from the one in which all is offered to that of the answer. 0 if there is none.
EXPORT int32_t core_access(Core* core, int32_t writes, int32_t reads, uint32_t* words) {
    Vtop& top = core->top;
    Access write, read;
    write.wanted = writes;
    read.wanted = reads;
    for (Access* access : {&write, &read}) {
        if (!core->pause()) continue;
        access->address_from = core->draw() & 3;
        access->data_from = core->draw() & 3;
        access->ready_from = core->draw() & 7;
    }
    uint32_t answers[5] = {0, 0, 0, 0, 0};
    for (int clock = 0; clock < PATIENCE; ++clock) {
        const bool address = write.wanted && !write.address_sent && clock >= write.address_from;
        const bool data = write.wanted && !write.data_sent && clock >= write.data_from;
        const bool request = read.wanted && !read.address_sent && clock >= read.address_from;
        top.s_axil_awvalid = address;
        top.s_axil_wvalid = data;
        top.s_axil_arvalid = request;
        top.s_axil_awaddr = (address ? words[0] : core->draw()) & 0xFFF;
        top.s_axil_araddr = (request ? words[3] : core->draw()) & 0xFFF;
        top.s_axil_wdata = data ? words[1] : core->idle_word();
        top.s_axil_wstrb = (data ? words[2] : core->draw()) & 15;
        top.s_axil_awprot = core->draw() & 7;
        top.s_axil_arprot = core->draw() & 7;
        top.s_axil_bready = write.wanted && clock >= write.ready_from;
        top.s_axil_rready = read.wanted && clock >= read.ready_from;
        core->clock();
        if (address && data && write.offered < 0) write.offered = clock;
        if (request && read.offered < 0) read.offered = clock;
        write.address_sent |= address && top.s_axil_awready;
        write.data_sent |= data && top.s_axil_wready;
        read.address_sent |= request && top.s_axil_arready;
        if (top.s_axil_bvalid && write.answered < 0) write.answered = clock;
        if (top.s_axil_rvalid && read.answered < 0) read.answered = clock;
        if (top.s_axil_bvalid && top.s_axil_bready) {
            answers[0] = top.s_axil_bresp;
            answers[1] = static_cast<uint32_t>(write.answered - write.offered);
            write.wanted = false;
        }
        if (top.s_axil_rvalid && top.s_axil_rready) {
            answers[2] = top.s_axil_rresp;
            answers[3] = static_cast<uint32_t>(read.answered - read.offered);
            answers[4] = top.s_axil_rdata;
            read.wanted = false;
        }
        if (!write.wanted && !read.wanted) {
            top.s_axil_bready = top.s_axil_rready = 0;
            std::memcpy(words, answers, sizeof answers);
            return 1;
        }
    }
    core->violations |= LATE;
    return 0;
}
