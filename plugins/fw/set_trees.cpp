// SPDX-License-Identifier: MIT
#include "set_trees.hpp"

#include <atomic>
#include <bit>
#include <numeric>

namespace evnf::fw {

namespace {

using Cell = std::uint32_t;

constexpr unsigned kBits = 128, kStride = 4;

bool is_record(Cell cell)
{
    return cell & FW_CELL_RECORD;
}

bool is_page(Cell cell)
{
    return cell > FW_CELL_ALL && !is_record(cell);
}

unsigned nibble(Number128 value, unsigned depth)
{
    return static_cast<unsigned>(value >> (kBits - kStride - depth)) & (FW_SET_FANOUT - 1);
}

Number128 first_bits(Number128 value, unsigned count)
{
    return count == 0 ? 0 : value >> (kBits - count) << (kBits - count);
}

unsigned leading_zeros(Number128 value)
{
    const auto high = static_cast<std::uint64_t>(value >> 64), low = static_cast<std::uint64_t>(value);
    return static_cast<unsigned>(high ? std::countl_zero(high) : 64 + std::countl_zero(low));
}

/// Packets see what was written before, once they see this.
void publish(Cell& cell, Cell value)
{
    std::atomic_ref<Cell>{cell}.store(value, std::memory_order_release);
}

unsigned first_depth(const Prefix& prefix)
{
    return prefix.is_v4() ? 96 : 0;
}

fw_family family_of(bool v4)
{
    return v4 ? FW_V4 : FW_V6;
}

} // namespace

SetTrees::Bits SetTrees::bits_of(const Prefix& prefix)
{
    return {number_of(prefix.address), prefix.length};
}

SetTrees::Bits SetTrees::bits_of(const fw_set_record& record)
{
    return {Number128{record.address[0]} << 64 | record.address[1], record.length};
}

Cell SetTrees::make_record(const Bits& bits, Cell next)
{
    const auto index = records_.take();
    records_[index] = {{static_cast<__u64>(bits.value >> 64), static_cast<__u64>(bits.value)}, next, bits.length};
    return FW_CELL_RECORD | index;
}

std::span<Cell> SetTrees::covered(Cell page, const Bits& bits, unsigned depth)
{
    return std::span{pages_[page].cells}.subspan(nibble(bits.value, depth), std::size_t{1} << (depth + kStride - bits.length));
}

void SetTrees::ensure(std::size_t changes)
{
    pages_.ensure(changes);
    records_.ensure(2 * changes);
}

bool SetTrees::has_room(std::size_t changes, const std::function<void()>& wait)
{
    ensure(changes);
    if (pages_.left() >= changes && records_.left() >= 2 * changes) return true;
    if (pages_.left_after_wait() < changes || records_.left_after_wait() < 2 * changes) return false;
    wait();
    pages_.wait();
    records_.wait();
    return true;
}

void SetTrees::move_to(std::span<fw_set_roots> roots, std::span<fw_set_page> pages, std::span<fw_set_record> records)
{
    pages_.move_to(pages);
    records_.move_to(records);
    std::copy(root_memory_.begin(), root_memory_.end(), roots.begin());
    root_memory_ = roots;
    roots_ = {};
}

void SetTrees::insert(std::size_t set, const Prefix& prefix)
{
    ensure(1);
    insert(&root_memory_[set].cell[family_of(prefix.is_v4())], first_depth(prefix), bits_of(prefix));
}

void SetTrees::insert(Cell* cell, unsigned depth, const Bits& bits)
{
    for (;;) {
        const Cell now = *cell;
        if (now == FW_CELL_ALL) return;
        if (now == FW_CELL_NONE || bits.length <= depth) {
            publish(*cell, leaf(bits, depth));
            return retire(now);
        }
        if (is_record(now)) {
            auto& record = this->record(now);
            const auto shared = std::min({leading_zeros(bits.value ^ bits_of(record).value), bits.length, record.length});
            if (shared == bits.length && (shared < record.length || record.next != FW_CELL_ALL)) {
                publish(*cell, leaf(bits, depth));
                return retire(now);
            }
            if (shared < record.length) return fork(*cell, depth, bits, shared);
            cell = &record.next;
            depth = record.length;
        } else if (bits.length < depth + kStride) {
            for (auto& part : covered(now, bits, depth)) {
                const Cell before = part;
                publish(part, FW_CELL_ALL);
                retire(before);
            }
            return;
        } else {
            cell = &pages_[now].cells[nibble(bits.value, depth)];
            depth += kStride;
        }
    }
}

void SetTrees::fork(Cell& cell, unsigned depth, const Bits& bits, unsigned shared)
{
    const auto at = shared / kStride * kStride;
    const Cell former = cell, page = pages_.take();
    const auto old = bits_of(record(former));
    pages_[page] = {};
    const bool ends_here = record(former).next == FW_CELL_ALL && old.length <= at + kStride;
    if (ends_here)
        for (auto& part : covered(page, old, at)) part = FW_CELL_ALL;
    else
        pages_[page].cells[nibble(old.value, at)] = former;
    Cell place = page;
    insert(&place, at, bits);
    publish(cell, at == depth ? page : make_record({first_bits(bits.value, at), at}, page));
    if (ends_here) retire(former);
}

void SetTrees::erase(std::size_t set, const Prefix& prefix, const std::vector<Prefix>& inside)
{
    ensure(inside.size() + 1);
    const auto bits = bits_of(prefix);
    auto way = way_to(root_memory_[set].cell[family_of(prefix.is_v4())], first_depth(prefix), bits);
    const auto [cell, depth] = way.back();
    const Cell now = *cell;
    if (is_page(now) && bits.length > depth) {
        unsigned number = nibble(bits.value, depth);
        for (auto& part : covered(now, bits, depth)) {
            const Bits network{first_bits(bits.value, depth) | Number128{number++} << (kBits - kStride - depth), depth + kStride};
            const Cell before = part;
            publish(part, build(network, depth + kStride, inside));
            retire(before);
        }
    } else {
        publish(*cell, build(bits, depth, inside));
        retire(now);
        way.pop_back();
    }
    while (!way.empty() && shrink(*way.back().cell, way.back().depth, bits)) way.pop_back();
}

std::vector<SetTrees::Step> SetTrees::way_to(Cell& root, unsigned depth, const Bits& bits)
{
    std::vector<Step> way{{&root, depth}};
    for (;;) {
        const auto [cell, at] = way.back();
        const Cell now = *cell;
        if (now <= FW_CELL_ALL || bits.length <= at) return way;
        if (is_record(now)) {
            auto& record = this->record(now);
            if (record.length >= bits.length) return way;
            way.push_back({&record.next, record.length});
        } else if (bits.length < at + kStride) {
            return way;
        } else {
            way.push_back({&pages_[now].cells[nibble(bits.value, at)], at + kStride});
        }
    }
}

Cell SetTrees::build(const Bits& network, unsigned depth, const std::vector<Prefix>& prefixes)
{
    Cell cell = FW_CELL_NONE;
    for (const auto& prefix : prefixes) {
        const auto bits = bits_of(prefix);
        const auto shared = std::min(bits.length, network.length);
        if (first_bits(bits.value, shared) == first_bits(network.value, shared)) insert(&cell, depth, bits);
    }
    return cell;
}

bool SetTrees::shrink(Cell& cell, unsigned depth, const Bits& bits)
{
    const Cell now = cell;
    const Cell next = is_record(now) ? record(now).next : shrunk_page(pages_[now], now, depth, bits);
    if (next == now || (is_record(now) && next != FW_CELL_NONE && !is_record(next))) return false;
    publish(cell, next);
    is_record(now) ? records_.give_back(now & ~FW_CELL_RECORD) : pages_.give_back(now);
    return true;
}

Cell SetTrees::shrunk_page(const fw_set_page& page, Cell cell, unsigned depth, const Bits& bits)
{
    Cell only = FW_CELL_NONE;
    Number128 number = 0;
    for (unsigned i = 0; i < FW_SET_FANOUT; ++i) {
        if (page.cells[i] == FW_CELL_NONE) continue;
        if (only != FW_CELL_NONE) return cell;
        only = page.cells[i];
        number = i;
    }
    if (only == FW_CELL_NONE || is_record(only)) return only;
    if (records_.left() == 0) return cell; // as good, only larger
    return make_record({first_bits(bits.value, depth) | number << (kBits - kStride - depth), depth + kStride}, only);
}

void SetTrees::retire(Cell cell)
{
    if (is_record(cell)) {
        retire(record(cell).next);
        records_.give_back(cell & ~FW_CELL_RECORD);
    } else if (is_page(cell)) {
        for (const auto next : pages_[cell].cells) retire(next);
        pages_.give_back(cell);
    }
}

std::size_t SetTrees::bytes(std::size_t set) const
{
    const auto& cells = root_memory_[set].cell;
    return sizeof(fw_set_roots) + bytes_of(cells[FW_V4]) + bytes_of(cells[FW_V6]);
}

std::size_t SetTrees::bytes_of(Cell cell) const
{
    if (cell <= FW_CELL_ALL) return 0;
    if (is_record(cell)) return sizeof(fw_set_record) + bytes_of(record(cell).next);
    const auto& cells = pages_[cell].cells;
    return std::accumulate(std::begin(cells), std::end(cells), sizeof(fw_set_page), [this](std::size_t sum, Cell next) { return sum + bytes_of(next); });
}

bool SetTrees::contains(std::size_t set, const Address& address) const
{
    const auto value = number_of(address);
    Cell cell = root_memory_[set].cell[family_of(address.is_v4())];
    unsigned depth = address.is_v4() ? 96 : 0;
    while (cell > FW_CELL_ALL) {
        if (is_record(cell)) {
            const auto bits = bits_of(record(cell));
            if (first_bits(value, bits.length) != bits.value) return false;
            depth = bits.length;
            cell = record(cell).next;
        } else {
            cell = pages_[cell].cells[nibble(value, depth)];
            depth += kStride;
        }
    }
    return cell == FW_CELL_ALL;
}

} // namespace evnf::fw
