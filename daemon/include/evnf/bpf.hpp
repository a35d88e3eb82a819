// SPDX-License-Identifier: MIT
/// Owners and typed views over libbpf. Every failure is an exception that names the operation,
/// the object and errno.
#pragma once

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <type_traits>
#include <utility>
#include <vector>

namespace evnf {

/// Throws std::system_error; `what` names the operation and the object.
[[noreturn]] void throw_errno(int error, const std::string& what);

/// Owns a file descriptor. Move-only.
class Fd {
public:
    Fd() = default;
    explicit Fd(int fd) noexcept : fd_{fd} {}
    Fd(Fd&& other) noexcept : fd_{std::exchange(other.fd_, -1)} {}
    Fd& operator=(Fd&& other) noexcept;
    ~Fd();

    int get() const noexcept { return fd_; }
    explicit operator bool() const noexcept { return fd_ >= 0; }
    int release() noexcept { return std::exchange(fd_, -1); }

private:
    int fd_ = -1;
};

/// What the kernel says of a map.
struct MapInfo {
    std::uint32_t type, key_size, value_size, max_entries, flags;
    bool operator==(const MapInfo&) const = default;
};

/// A view of a map: operations on a file descriptor that somebody else owns.
/// Keys and values are passed by their bytes: use types without hidden padding.
class MapRef {
public:
    MapRef(int fd, std::string name) : fd_{fd}, name_{std::move(name)} {}

    int fd() const noexcept { return fd_; }
    const std::string& name() const noexcept { return name_; }
    MapInfo info() const;

    /// The value, or nothing where the key is absent.
    template <class Value, class Key>
    std::optional<Value> find(const Key& key) const
    {
        check<Key, Value>();
        Value value{};
        if (!lookup(&key, &value)) return std::nullopt;
        return value;
    }

    /// The values of all CPUs of a per-CPU map; empty where the key is absent.
    template <class Value, class Key>
    std::vector<Value> find_per_cpu(const Key& key) const
    {
        check<Key, Value>();
        static_assert(sizeof(Value) % 8 == 0, "per-CPU values are padded to 8 bytes");
        std::vector<Value> values(static_cast<std::size_t>(cpus()));
        if (!lookup(&key, values.data())) values.clear();
        return values;
    }

    /// `flags`: BPF_ANY, BPF_NOEXIST or BPF_EXIST.
    template <class Key, class Value>
    void update(const Key& key, const Value& value, std::uint64_t flags = BPF_ANY) const
    {
        check<Key, Value>();
        update_bytes(&key, &value, flags);
    }

    /// Sets the value of every CPU of a per-CPU map.
    template <class Key, class Value>
    void update_per_cpu(const Key& key, const Value& value) const
    {
        check<Key, Value>();
        std::vector<Value> values(static_cast<std::size_t>(cpus()), value);
        update_bytes(&key, values.data(), BPF_ANY);
    }

    /// Sets many elements at once; as many keys as values.
    template <class Key, class Value>
    void update_batch(const std::vector<Key>& keys, const std::vector<Value>& values) const
    {
        check<Key, Value>();
        update_batch_bytes(keys.data(), values.data(), keys.size());
    }

    /// False where the key was absent.
    template <class Key>
    bool erase(const Key& key) const
    {
        return erase_bytes(&key);
    }

    /// Calls `visit(const Key&, const Value&)` for each entry of a hash map, in batches. Entries
    /// that come or go meanwhile may be seen or not; none is seen twice unless the table is being
    /// rewritten at the same time.
    template <class Key, class Value, class Visit>
    void for_each(Visit visit) const
    {
        check<Key, Value>();
        for_each_bytes(sizeof(Key), sizeof(Value), [&](const void* key, const void* value) {
            visit(*static_cast<const Key*>(key), *static_cast<const Value*>(value));
        });
    }

    /// One batch of for_each: for walks that may not block. `cursor` is empty at the begin, and again
    /// after the last batch; then the answer is false.
    template <class Key, class Value, class Visit>
    bool for_each_part(std::vector<std::byte>& cursor, Visit visit) const
    {
        check<Key, Value>();
        std::vector<std::byte> keys, values;
        bool more = true;
        const std::size_t count = next_batch(cursor, keys, values, sizeof(Key), sizeof(Value), more);
        for (std::size_t i = 0; i < count; ++i) {
            const void *key = &keys[i * sizeof(Key)], *value = &values[i * sizeof(Value)];
            visit(*static_cast<const Key*>(key), *static_cast<const Value*>(value));
        }
        if (!more) cursor.clear();
        return more;
    }

    /// for_each of a map whose types only the kernel knows: `visit(const void* key, const void* value)`.
    template <class Visit>
    void for_each_bytes(std::size_t key_size, std::size_t value_size, Visit visit) const
    {
        std::vector<std::byte> keys, values;
        std::vector<std::byte> cursor;
        for (bool more = true; more;) {
            const std::size_t count = next_batch(cursor, keys, values, key_size, value_size, more);
            for (std::size_t i = 0; i < count; ++i) visit(&keys[i * key_size], &values[i * value_size]);
        }
    }

    /// Number of possible CPUs: the length of a per-CPU value.
    static int cpus();

private:
    template <class Key, class Value>
    static void check()
    {
        static_assert(std::is_trivially_copyable_v<Key> && std::is_trivially_copyable_v<Value>);
    }
    bool lookup(const void* key, void* value) const;
    void update_bytes(const void* key, const void* value, std::uint64_t flags) const;
    void update_batch_bytes(const void* keys, const void* values, std::size_t count) const;
    bool erase_bytes(const void* key) const;

    /// Fills `keys` and `values`; the count. `more` turns false after the last batch.
    std::size_t next_batch(std::vector<std::byte>& cursor, std::vector<std::byte>& keys,
                           std::vector<std::byte>& values, std::size_t key_size, std::size_t value_size,
                           bool& more) const;

    int fd_;
    std::string name_;
};

/// Returns when every packet that was in a program at the time of the call has left it.
void wait_for_packets_in_flight();

} // namespace evnf
