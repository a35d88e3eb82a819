// SPDX-License-Identifier: MIT
/// The directory on bpffs where evnfd keeps what must live without it.
#pragma once

#include <filesystem>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include <evnf/bpf.hpp>

namespace evnf {

/// A directory on bpffs that belongs to one daemon: mode 0700, ours, locked while we live. Names are paths in it:
///
///     chains/N           the PROG_ARRAY of generation N: the kernel empties one that nobody in user space holds
///     chains/N-tc        its second one, where its chains are loaded for both hooks
///     entries/PORT       the program that the port's link, or its filter at tc ingress, runs
///     links/PORT         the XDP link that attaches it; none where the chain runs at tc
///     programs/NAME      what else runs at tc
///     state/OWNER/MAP    maps that outlive generations
///     next/...           entries and state of a generation that does not carry traffic yet
///
/// recovery.hpp says in which order a swap changes them.
class PinDirectory {
public:
    /// Creates it where it is missing. Throws when it is not on bpffs, belongs to somebody else, is open to others,
    /// or another daemon holds it.
    explicit PinDirectory(std::filesystem::path path);

    const std::filesystem::path& path() const noexcept { return path_; }
    /// Pins in place of what was there; directories are made.
    void pin(int fd, const std::filesystem::path& name) const;
    /// Replaces what is at `to` in one step; directories are made.
    void rename(const std::filesystem::path& from, const std::filesystem::path& to) const;
    /// The object pinned there, or an empty Fd where there is none.
    Fd open(const std::filesystem::path& name) const;
    /// What is in a directory, sorted; nothing where it is missing.
    std::vector<std::string> list(const std::filesystem::path& directory) const;
    /// The highest generation whose PROG_ARRAY is pinned; 0 where there is none.
    std::uint32_t newest_chain() const;
    /// A pin or a directory with all that is in it; it may be missing.
    void unpin(const std::filesystem::path& name) const;
    /// Removes all else from a directory.
    void keep_only(const std::filesystem::path& directory, const std::set<std::string>& names) const;
    /// The directory itself too.
    void remove_all() const;

private:
    void make_parent(const std::filesystem::path& path) const;

    std::filesystem::path path_;
    Fd lock_;
};

/// Where a pin of the generation to come waits for its place.
inline std::filesystem::path next(const std::filesystem::path& name)
{
    return std::filesystem::path{"next"} / name;
}

inline constexpr std::string_view kSecondChain = "-tc";

/// The PROG_ARRAYs of a generation. The second one is pinned before the first and removed after it.
inline std::filesystem::path chain_pin(std::uint32_t generation, bool second = false)
{
    return std::filesystem::path{"chains"} / (std::to_string(generation) + std::string{second ? kSecondChain : ""});
}

} // namespace evnf
