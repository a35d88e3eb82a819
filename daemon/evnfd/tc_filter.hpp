// SPDX-License-Identifier: MIT
/// eVNF's filter in the clsact qdisc of an interface. It belongs to the kernel once it is there: it outlives the daemon.
/// When that qdisc comes or goes, the kernel deactivates the interface's queues for some milliseconds and drops what it
/// sends there itself (frames that XDP redirects are not concerned); a filter that comes, goes or changes loses nothing.
#pragma once

#include <cstdint>
#include <string>

namespace evnf {

enum class TcPoint { ingress, egress };

/// An interface for messages and for the kernel.
struct Device {
    std::string name;
    unsigned ifindex = 0;
};

/// The kernel's word, which may be newer than what netlink has told so far.
bool interface_exists(unsigned ifindex);

/// Puts the program in place of ours that is there, in one step, or makes the filter and the qdisc. Throws with a remedy
/// when a filter that is not ours stands in its place.
void set_filter(const Device& device, TcPoint point, int program);
/// Removes our filter, and the qdisc when no filter is left in it. No error where the interface is gone.
void remove_filter(const Device& device, TcPoint point);
/// True where our filter is there.
bool has_filter(const Device& device, TcPoint point);

} // namespace evnf
