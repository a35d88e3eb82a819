// SPDX-License-Identifier: MIT
#include <evnf/bpf.hpp>

#include <linux/membarrier.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <chrono>
#include <thread>

#include <fmt/format.h>

namespace evnf {

void throw_errno(int error, const std::string& what)
{
    throw std::system_error{error, std::generic_category(), what};
}

Fd& Fd::operator=(Fd&& other) noexcept
{
    if (this != &other) {
        if (fd_ >= 0) ::close(fd_);
        fd_ = std::exchange(other.fd_, -1);
    }
    return *this;
}

Fd::~Fd()
{
    if (fd_ >= 0) ::close(fd_);
}

int MapRef::cpus()
{
    static const int count = libbpf_num_possible_cpus();
    return count;
}

MapInfo MapRef::info() const
{
    bpf_map_info info{};
    __u32 size = sizeof info;
    if (const int error = bpf_obj_get_info_by_fd(fd_, &info, &size))
        throw_errno(-error, fmt::format("cannot read what map {} is", name_));
    return {info.type, info.key_size, info.value_size, info.max_entries, info.map_flags};
}

bool MapRef::lookup(const void* key, void* value) const
{
    const int error = bpf_map_lookup_elem(fd_, key, value);
    if (error == -ENOENT) return false;
    if (error) throw_errno(-error, fmt::format("cannot look up in map {}", name_));
    return true;
}

void MapRef::update_bytes(const void* key, const void* value, std::uint64_t flags) const
{
    if (const int error = bpf_map_update_elem(fd_, key, value, flags))
        throw_errno(-error, fmt::format("cannot update map {}", name_));
}

void MapRef::update_batch_bytes(const void* keys, const void* values, std::size_t count) const
{
    if (count == 0) return;
    __u32 done = static_cast<__u32>(count);
    if (const int error = bpf_map_update_batch(fd_, keys, values, &done, nullptr))
        throw_errno(-error, fmt::format("cannot update map {} after {} of {} elements", name_, done, count));
}

bool MapRef::erase_bytes(const void* key) const
{
    const int error = bpf_map_delete_elem(fd_, key);
    if (error == -ENOENT) return false;
    if (error) throw_errno(-error, fmt::format("cannot delete from map {}", name_));
    return true;
}

std::size_t MapRef::next_batch(std::vector<std::byte>& cursor, std::vector<std::byte>& keys,
                               std::vector<std::byte>& values, std::size_t key_size, std::size_t value_size,
                               bool& more) const
{
    // A batch must hold the largest bucket of the hash; the kernel says ENOSPC when it does not.
    constexpr std::size_t kCursorSize = 64;
    std::size_t room = keys.empty() ? 1024 : keys.size() / key_size;
    const bool first = cursor.empty();
    if (first) cursor.resize(kCursorSize);
    std::vector<std::byte> out(kCursorSize);
    for (;;) {
        keys.resize(room * key_size);
        values.resize(room * value_size);
        __u32 count = static_cast<__u32>(room);
        const int error = bpf_map_lookup_batch(fd_, first ? nullptr : cursor.data(), out.data(), keys.data(),
                                               values.data(), &count, nullptr);
        if (error == -ENOSPC) {
            room *= 2;
            continue;
        }
        if (error && error != -ENOENT) throw_errno(-error, fmt::format("cannot walk map {}", name_));
        cursor = std::move(out);
        more = error == 0;
        return count;
    }
}

void wait_for_packets_in_flight()
{
    // Waits for an RCU grace period: programs run inside RCU read-side sections.
    if (syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0) == 0) return;
    // Not on kernels with nohz_full CPUs; a packet is through a chain in microseconds.
    std::this_thread::sleep_for(std::chrono::milliseconds{100});
}

} // namespace evnf
