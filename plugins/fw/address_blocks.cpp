// SPDX-License-Identifier: MIT
#include "address_blocks.hpp"

#include <algorithm>
#include <cstdint>
#include <stdexcept>

namespace evnf::fw {

namespace {

/// Of a family, at 8 bytes each; where they are used up, larger blocks are bisected.
constexpr std::size_t kMostBlocks = 8u << 20;
/// IPv6 blocks with more points are cut again.
constexpr std::size_t kFewPoints = 4;

class Blocks {
public:
    Blocks(Tables& tables, fw_side side, const std::vector<Run>& runs) : tables_{tables}, side_{side}, runs_{runs} {}

    void add_v4()
    {
        auto& blocks = tables_.blocks4;
        blocks.resize(std::max(blocks.size(), std::size_t{FW_SIDES} * FW_BLOCKS));
        for (std::uint64_t upper = 0; upper < FW_BLOCKS; ++upper) set_v4(std::size_t{side_} * FW_BLOCKS + upper, upper << 16, 1u << 16);
    }

    /// The blocks span the upper halves between the second run, the first being what is before, and the last.
    void add_v6()
    {
        auto& span = tables_.config.spans6[side_];
        auto& blocks = tables_.blocks6;
        blocks.resize(std::max(blocks.size(), std::size_t{FW_SIDES} * FW_BLOCKS));
        span = {runs_.size() > 1 ? runs_[1].start.first : 0, 0, runs_.front().row, side_ * std::uint32_t{FW_BLOCKS}, 0};
        while ((runs_.back().start.first - span.base) >> span.shift >= FW_BLOCKS) ++span.shift;
        fill_span(span, FW_BLOCKS, {~0ull, ~0ull}, 0);
    }

private:
    /// The block of `size` addresses, and those that it consists of.
    void set_v4(std::size_t slot, std::uint64_t start, std::uint32_t size)
    {
        auto& blocks = tables_.blocks4;
        const std::uint64_t last = start + size - 1;
        go_to({0, start});
        if (is_alone({0, last}) || (size == FW_NODE_BLOCKS && blocks.size() > kMostBlocks)) {
            blocks[slot] = points({0, start}, {0, last});
            return;
        }
        const auto first = blocks.size();
        blocks[slot] = {static_cast<std::uint32_t>(first), FW_NODE};
        blocks.resize(first + FW_NODE_BLOCKS);
        const auto part = size / FW_NODE_BLOCKS;
        for (std::uint32_t i = 0; i < FW_NODE_BLOCKS; ++i) set_v4(first + i, start + i * part, part);
    }

    /// Fills the span's blocks, of which the last goes on to the address `last`.
    void fill_span(const fw_span6& span, std::uint64_t count, const AddressNumber& last, int depth)
    {
        for (std::uint64_t i = 0; i < count; ++i) {
            const std::uint64_t offset = i << span.shift, room = last.first - span.base;
            if (offset > room) { // no address comes here
                tables_.blocks6[span.first + i] = {runs_[run_].row, FW_WHOLE};
                continue;
            }
            const std::uint64_t size_less_1 = (std::uint64_t{1} << span.shift) - 1;
            const bool ends = i + 1 == count || size_less_1 >= room - offset;
            set_v6(span.first + i, {span.base + offset, 0}, ends ? last : AddressNumber{span.base + offset + size_less_1, ~0ull}, depth);
        }
    }

    void set_v6(std::size_t slot, const AddressNumber& start, const AddressNumber& last, int depth)
    {
        go_to(start);
        const auto [first_point, last_point] = points_up_to(last);
        if (last_point - first_point < kFewPoints || runs_[first_point].start.first == runs_[last_point].start.first || depth == FW_NESTED_SPANS ||
            tables_.blocks6.size() > kMostBlocks) {
            tables_.blocks6[slot] = points(start, last);
            return;
        }
        fw_span6 span{runs_[first_point].start.first, 0, runs_[run_].row, static_cast<std::uint32_t>(tables_.blocks6.size()), 0};
        while ((runs_[last_point].start.first - span.base) >> span.shift >= FW_NODE_BLOCKS) ++span.shift;
        tables_.blocks6[slot] = {static_cast<std::uint32_t>(tables_.spans6.size()), FW_NODE};
        tables_.spans6.push_back(span);
        tables_.blocks6.resize(tables_.blocks6.size() + FW_NODE_BLOCKS);
        fill_span(span, FW_NODE_BLOCKS, last, depth + 1);
    }

    /// The first and the last run that begin after the present one and up to `last`; the same where there is one or none.
    std::pair<std::size_t, std::size_t> points_up_to(const AddressNumber& last) const
    {
        if (is_alone(last)) return {run_, run_};
        const auto after = std::upper_bound(runs_.begin(), runs_.end(), last, [](const AddressNumber& address, const Run& run) { return address < run.start; });
        return {run_ + 1, static_cast<std::size_t>(after - runs_.begin()) - 1};
    }

    /// A block that is not cut again.
    fw_block points(const AddressNumber& start, const AddressNumber& last)
    {
        if (is_alone(last)) return {runs_[run_].row, FW_WHOLE};
        auto& points = tables_.points;
        const auto first = static_cast<std::uint32_t>(points.size());
        points.push_back({{start.first, start.second}, runs_[run_].row, 0});
        for (; !is_alone(last); ++run_) {
            const auto& [high, low] = runs_[run_ + 1].start;
            points.push_back({{high, low}, runs_[run_ + 1].row, 0});
        }
        const auto count = points.size() - first;
        if (count >> FW_BISECTIONS) throw std::length_error{"the sets and rules speak of too many addresses"};
        return {first, static_cast<std::uint32_t>(count)};
    }

    /// Goes on to the run that the address is in.
    void go_to(const AddressNumber& address)
    {
        while (!is_alone(address)) ++run_;
    }

    /// No other run begins up to `last`.
    bool is_alone(const AddressNumber& last) const { return run_ + 1 == runs_.size() || runs_[run_ + 1].start > last; }

    Tables& tables_;
    fw_side side_;
    const std::vector<Run>& runs_;
    std::size_t run_ = 0; ///< at which the blocks are, from the lowest address to the highest
};

} // namespace

void add_blocks(Tables& tables, fw_family family, fw_side side, const std::vector<Run>& runs)
{
    Blocks blocks{tables, side, runs};
    family == FW_V4 ? blocks.add_v4() : blocks.add_v6();
}

} // namespace evnf::fw
