// SPDX-License-Identifier: MIT
/// A BPF array that is mapped into memory.
#pragma once

#include <fmt/format.h>
#include <sys/mman.h>

#include <cerrno>
#include <span>
#include <utility>

#include <evnf/bpf.hpp>

namespace evnf {

/// The first `count` elements. They stay there after the map's descriptor is closed.
template <class Row>
class MappedArray {
    static_assert(sizeof(Row) % 8 == 0, "elements of a mapped array are padded to 8 bytes");

public:
    MappedArray() = default;
    MappedArray(const MapRef& array, std::size_t count)
    {
        void* const memory = mmap(nullptr, count * sizeof(Row), PROT_READ | PROT_WRITE, MAP_SHARED, array.fd(), 0);
        if (memory == MAP_FAILED) throw_errno(errno, fmt::format("cannot map {} into memory", array.name()));
        rows_ = {static_cast<Row*>(memory), count};
    }
    MappedArray(MappedArray&& other) noexcept : rows_{std::exchange(other.rows_, {})} {}
    MappedArray& operator=(MappedArray&& other) noexcept
    {
        std::swap(rows_, other.rows_);
        return *this;
    }
    ~MappedArray()
    {
        if (!rows_.empty()) munmap(rows_.data(), rows_.size_bytes());
    }

    std::span<Row> rows() const { return rows_; }

private:
    std::span<Row> rows_;
};

} // namespace evnf
