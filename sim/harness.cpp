// The trainer as Verilator compiled it, driven for many clocks a call: see sim/harness.py.
//
// WEIGHTS, BIASES and BIASES_BY_UNIT are macros for members of the root class (compile_library).
// Values cross the border as rows of bytes, little-endian, the layout of Verilator's own words on
// the processors that this runs on. Rows of memories and probes are padded to whole 64-bit words.

#include "Vtop.h"
#include "Vtop___024root.h"
#include "verilated.h"

#include <cstdint>
#include <cstring>

namespace {

struct Trainer {
    VerilatedContext context;
    Vtop top{&context};
    bool offered = false;

    // End the clock. What the inputs are now, they are in the next one: see sim.harness.bench.
    void clock() {
        top.clk = 0;
        top.eval();
        top.clk = 1;
        top.eval();
    }
};

constexpr int64_t padded(int64_t bytes) { return (bytes + 7) / 8 * 8; }

template <typename Memory>
void read(const Memory& memory, uint8_t* rows) {
    constexpr int64_t word = sizeof memory[0];
    for (size_t row = 0; row < sizeof memory / word; ++row)
        std::memcpy(rows + row * padded(word), &memory[row], word);
}

template <typename Memory>
void write(Memory& memory, const uint8_t* rows) {
    constexpr int64_t word = sizeof memory[0];
    for (size_t row = 0; row < sizeof memory / word; ++row)
        std::memcpy(&memory[row], rows + row * padded(word), word);
}

}  // namespace

// What nomul_run reads and writes; fields as in sim.harness.Run.
struct Run {
    const uint8_t* payloads;
    int64_t transfers;
    int64_t position;
    int64_t samples;
    const uint8_t* stalls;
    uint8_t* probes;
    uint8_t* valid;
    uint8_t* ready;
    uint8_t* predictions;
    int64_t predicted;
    int64_t idle;
};

namespace {

// Set the inputs of the next clock.
void drive(Trainer* trainer, const Run* run, uint8_t stall) {
    Vtop& top = trainer->top;
    constexpr int64_t bytes = sizeof top.samples___05Fpayload;
    if (!trainer->offered && run->position < run->transfers && !(stall & 1)) {
        std::memcpy(&top.samples___05Fpayload, run->payloads + run->position * bytes, bytes);
        trainer->offered = true;
    }
    top.samples___05Fvalid = trainer->offered;
    top.predictions___05Fready = !(stall & 2);
}

}  // namespace

#define EXPORT extern "C" __attribute__((visibility("default")))

// Bytes of a payload, a prediction, a row of probes, of weights, of biases; the latter two's rows.
EXPORT void nomul_sizes(const Trainer* trainer, int64_t* sizes) {
    const auto& top = trainer->top;
    const auto& weights = top.rootp->WEIGHTS;
    const auto& biases = top.rootp->BIASES;
    sizes[0] = sizeof top.samples___05Fpayload;
    sizes[1] = sizeof top.predictions___05Fpayload;
    sizes[2] = padded(sizeof top.probes);
    sizes[3] = padded(sizeof weights[0]);
    sizes[4] = padded(sizeof biases[0]);
    sizes[5] = sizeof weights / sizeof weights[0];
    sizes[6] = sizeof biases / sizeof biases[0];
}

// A trainer at rest: after its reset, or, given plusargs for its random sources, as configured.
EXPORT Trainer* nomul_open(int32_t count, const char** plusargs) {
    auto* trainer = new Trainer;
    trainer->context.commandArgs(count, plusargs);
    trainer->top.samples___05Fvalid = 0;
    trainer->top.predictions___05Fready = 1;
    trainer->top.rst = count == 0;
    for (int clock = 0; clock < 4; ++clock) trainer->clock();
    trainer->top.rst = 0;
    // One clock to let go of the reset, one to show it.
    for (int clock = 0; clock < 2; ++clock) trainer->clock();
    return trainer;
}

EXPORT void nomul_close(Trainer* trainer) { delete trainer; }

EXPORT void nomul_read(const Trainer* trainer, uint8_t* weights, uint8_t* biases) {
    read(trainer->top.rootp->WEIGHTS, weights);
    read(trainer->top.rootp->BIASES, biases);
}

// Replace the memories of a trainer at rest. The biases come twice, as the trainer has them.
EXPORT void nomul_load(Trainer* trainer, const uint8_t* weights, const uint8_t* biases,
                       const uint8_t* biases_by_unit) {
    write(trainer->top.rootp->WEIGHTS, weights);
    write(trainer->top.rootp->BIASES, biases);
    write(trainer->top.rootp->BIASES_BY_UNIT, biases_by_unit);
    // What was read from them before is behind the pipeline's end by then.
    for (int clock = 0; clock < 16; ++clock) trainer->clock();
}

EXPORT int32_t nomul_idle(const Trainer* trainer) { return trainer->top.idle; }

// Begin to offer transfers, in the next clock, to a trainer at rest.
EXPORT void nomul_offer(Trainer* trainer, const Run* run) {
    drive(trainer, run, 0);
    trainer->clock();
}

// Run up to `clocks` clocks and return how many. With `stop`, the clock in which a sample is done
// is the last, and the one in which nothing is left to do is not begun: `idle` is then 1.
EXPORT int64_t nomul_run(Trainer* trainer, Run* run, int64_t clocks, int32_t stop) {
    Vtop& top = trainer->top;
    constexpr int64_t row = padded(sizeof top.probes);
    constexpr int64_t record = sizeof top.predictions___05Fpayload;
    const uint32_t before = top.sample_count;
    for (int64_t clock = 0; clock < clocks; ++clock) {
        if (stop && top.sample_count != before) return clock;
        if (stop && run->position == run->transfers && top.predictions___05Fvalid == 0
            && top.sample_count == static_cast<uint32_t>(run->samples)) {
            run->idle = 1;
            return clock;
        }
        const bool valid = trainer->offered, ready = top.predictions___05Fready;
        if (run->probes) {
            std::memcpy(run->probes + clock * row, &top.probes, sizeof top.probes);
            run->valid[clock] = valid;
            run->ready[clock] = ready;
        }
        if (run->predictions && top.predictions___05Fvalid && ready)
            std::memcpy(run->predictions + run->predicted++ * record,
                        &top.predictions___05Fpayload, record);
        if (valid && top.samples___05Fready) {
            ++run->position;
            trainer->offered = false;
        }
        drive(trainer, run, run->stalls ? run->stalls[clock] : 0);
        trainer->clock();
    }
    return clocks;
}
