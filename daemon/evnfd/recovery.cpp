// SPDX-License-Identifier: MIT
#include "recovery.hpp"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cstring>

#include "errno_hint.hpp"
#include "state.hpp"

namespace evnf {

namespace fs = std::filesystem;

namespace {

enum class Kind { nothing, directory, map, chain, program, link };

const char* text(Kind kind)
{
    switch (kind) {
    case Kind::directory: return "a directory";
    case Kind::map: return "a map";
    case Kind::chain: return "a PROG_ARRAY";
    case Kind::program: return "an XDP or tc program";
    case Kind::link: return "an XDP link";
    case Kind::nothing: break;
    }
    return "nothing that evnfd knows";
}

bool is_chain(std::string_view name)
{
    if (name.ends_with(kSecondChain)) name.remove_suffix(kSecondChain.size());
    return !name.empty() && std::all_of(name.begin(), name.end(), [](unsigned char c) { return std::isdigit(c); });
}

/// What belongs at a place (see PinDirectory).
Kind wanted(const fs::path& name)
{
    std::vector<std::string> parts{name.begin(), name.end()};
    const bool is_next = parts.front() == "next";
    if (is_next) parts.erase(parts.begin());
    if (parts.empty()) return Kind::directory;
    const std::string top = parts.front();
    const auto depth = parts.size();
    if (top == "state" && depth <= 3) return depth == 3 ? Kind::map : Kind::directory;
    if (depth > 2) return Kind::nothing;
    if (top == "entries" || top == "programs") return depth == 2 ? Kind::program : Kind::directory;
    if (top == "links" && !is_next) return depth == 2 ? Kind::link : Kind::directory;
    if (top == "chains" && !is_next && (depth == 1 || is_chain(parts.back()))) return depth == 2 ? Kind::chain : Kind::directory;
    return Kind::nothing;
}

/// The kernel answers BPF_OBJ_GET_INFO_BY_FD for each kind in its own format and does not say which it was.
std::string descriptor_text(int fd)
{
    std::error_code error;
    return fs::read_symlink(fmt::format("/proc/self/fd/{}", fd), error).string();
}

template <class Info>
Info info_of(int fd)
{
    Info info{};
    __u32 size = sizeof info;
    if (const int error = bpf_obj_get_info_by_fd(fd, &info, &size)) throw_with_hint(-error, "cannot read what the pin is");
    return info;
}

Kind kind_of(int fd)
{
    const auto type = descriptor_text(fd);
    if (type.ends_with("bpf-map")) return info_of<bpf_map_info>(fd).type == BPF_MAP_TYPE_PROG_ARRAY ? Kind::chain : Kind::map;
    if (type.ends_with("bpf-prog")) {
        const auto program = info_of<bpf_prog_info>(fd).type;
        return program == BPF_PROG_TYPE_XDP || program == BPF_PROG_TYPE_SCHED_CLS ? Kind::program : Kind::nothing;
    }
    if (type.ends_with("bpf-link") || type.ends_with("bpf_link"))
        return info_of<bpf_link_info>(fd).type == BPF_LINK_TYPE_XDP ? Kind::link : Kind::nothing;
    return Kind::nothing;
}

/// Why what is there cannot be trusted; empty where it can.
std::string objection(const PinDirectory& pins, const fs::path& name)
try {
    struct stat status {};
    if (lstat((pins.path() / name).c_str(), &status) != 0) return std::strerror(errno);
    if (status.st_uid != geteuid()) return fmt::format("belongs to uid {}", status.st_uid);
    if (status.st_mode & (S_IWGRP | S_IWOTH)) return fmt::format("others may write it (mode {:04o})", status.st_mode & 07777);
    const Kind want = wanted(name);
    if (want == Kind::nothing) return "has no place in a pin directory";
    const Kind have = S_ISDIR(status.st_mode) ? Kind::directory : S_ISREG(status.st_mode) ? kind_of(pins.open(name).get()) : Kind::nothing;
    const bool fits = have == want || (have == Kind::chain && want == Kind::map); // state may be a PROG_ARRAY
    return fits ? "" : fmt::format("is {} where {} belongs", text(have), text(want));
} catch (const std::exception& error) {
    return error.what();
}

/// A directory before what is in it.
std::vector<fs::path> everything(const PinDirectory& pins)
{
    std::vector<fs::path> names;
    for (const auto& entry : fs::recursive_directory_iterator{pins.path()}) names.push_back(entry.path().lexically_relative(pins.path()));
    return names;
}

void remove_strays(const PinDirectory& pins, spdlog::logger& log)
{
    for (const auto& name : everything(pins)) {
        const auto path = pins.path() / name;
        if (fs::symlink_status(path).type() == fs::file_type::not_found) continue; // went with its directory
        const auto reason = objection(pins, name);
        if (reason.empty()) continue;
        log.warn("{}: {}: not trusted, removed", path.string(), reason);
        pins.unpin(name);
    }
}

/// Steps 3 and 4: each link runs the program that is pinned as its entry. A port whose chain runs at tc keeps its filter
/// until the new daemon's first swap, a moment from now.
void finish_entries(const PinDirectory& pins, spdlog::logger& log)
{
    for (const fs::path directory : {"entries", "programs"})
        for (const auto& name : pins.list(next(directory))) pins.rename(next(directory / name), directory / name);
    for (const auto& port : pins.list("links")) {
        const Fd link = pins.open(fs::path{"links"} / port), entry = pins.open(fs::path{"entries"} / port);
        const int error = entry ? bpf_link_update(link.get(), entry.get(), nullptr) : 0;
        if (error) log.warn("port {}: its link takes no new program: {}", port, std::strerror(-error));
    }
}

/// Step 5. What a plugin of another layout had is not for the new one, so nothing is copied when layouts changed.
void finish_state(const PinDirectory& pins, const Meta& meta, spdlog::logger& log)
{
    const auto record = state_pin(kFramework, "meta");
    const auto before = read_meta(pins, record);
    const bool same_layouts = before && std::memcmp(before->layouts, meta.layouts, sizeof meta.layouts) == 0;
    for (const auto& owner : pins.list(next("state")))
        for (const auto& name : pins.list(next("state") / owner)) {
            const auto pin = state_pin(owner, name);
            if (pin == record) continue;
            const Fd from = pins.open(pin), to = pins.open(next(pin));
            if (from && same_layouts) copy_entries({from.get(), name}, {to.get(), name}, log);
            pins.rename(next(pin), pin);
        }
    pins.rename(next(record), record);
}

} // namespace

PinDirectory recover_pins(const fs::path& path, spdlog::logger& log)
{
    PinDirectory pins{path};
    remove_strays(pins, log);
    const auto meta = read_meta(pins, next(state_pin(kFramework, "meta")));
    if (meta && meta->generation == pins.newest_chain()) {
        log.warn("the last evnfd ended while it put generation {} in charge: finished", meta->generation);
        finish_entries(pins, log);
        finish_state(pins, *meta, log);
    }
    pins.unpin("next");
    return pins;
}

} // namespace evnf
