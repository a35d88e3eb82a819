// SPDX-License-Identifier: MIT
/// Sends what a program writes, without a pause.
#pragma once

#include <sched.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <utility>

#include "packet.hpp"
#include "skeleton.hpp"

namespace evnf::test {

/// Runs an XDP program over and over with frames that it sends as it says (BPF_F_TEST_XDP_LIVE_FRAMES), on one CPU. The
/// kernel runs what a frame meets, up to the next queue, behind each batch on the same CPU.
///
/// A call of the kernel ends with an RCU grace period, some 20 ms in which nothing is sent. So there is one call, in a process
/// of its own, since only a signal ends it.
class Sender {
public:
    /// `program` stays the caller's, and alive.
    Sender(const bpf_program* program, Frame frame) : program_{bpf_program__fd(program)}, frame_{std::move(frame)} {}
    ~Sender() { stop(); }
    Sender(const Sender&) = delete;
    Sender& operator=(const Sender&) = delete;

    void start(int cpu)
    {
        process_ = fork();
        if (process_ < 0) throw_errno(errno, "cannot fork");
        if (process_ > 0) return;
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        send(cpu);
        _exit(1);
    }

    void stop()
    {
        if (process_ <= 0) return;
        kill(process_, SIGKILL);
        waitpid(process_, nullptr, 0);
        process_ = -1;
    }

private:
    static constexpr unsigned kBatch = 64; // the weight of NAPI: queues stay short and nothing overflows
    static constexpr int kRuns = 1 << 30;  // minutes

    /// Returns when the kernel refuses.
    void send(int cpu) const
    {
        LIBBPF_OPTS(bpf_test_run_opts, run, .data_in = frame_.data(), .data_size_in = static_cast<__u32>(frame_.size()),
                    .repeat = kRuns, .flags = BPF_F_TEST_XDP_LIVE_FRAMES, .batch_size = kBatch);
        cpu_set_t own;
        CPU_ZERO(&own);
        CPU_SET(cpu, &own);
        if (sched_setaffinity(0, sizeof own, &own)) return;
        while (!bpf_prog_test_run_opts(program_, &run)) {}
    }

    int program_;
    Frame frame_;
    pid_t process_ = -1;
};

} // namespace evnf::test
