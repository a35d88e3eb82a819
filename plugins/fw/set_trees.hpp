// SPDX-License-Identifier: MIT
/// The trees in which the fast path looks sets up (sets_shared.h), built and changed while packets read them. Knows no kernel.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <stdexcept>
#include <utility>
#include <vector>

#include "addresses.hpp"
#include "fw_shared.h"

namespace evnf::fw {

/// Elements of an array, to be handed out one at a time. What is given back is not handed out before wait().
template <class Element>
class SetPool {
public:
    /// In memory of its own; the first `reserved` elements are never handed out.
    explicit SetPool(std::uint32_t reserved) : own_(reserved), memory_{own_}, used_{reserved} {}

    /// Own memory grows, so that `count` more elements find room, and moves then.
    void ensure(std::size_t count)
    {
        if (!grows_ || left() >= count) return;
        own_.resize(std::max(own_.size() * 2, own_.size() + count));
        memory_ = own_;
    }
    std::uint32_t take()
    {
        if (free_.empty()) return used_ < memory_.size() ? used_++ : throw std::length_error{"no room in the trees of sets"};
        const auto index = free_.back();
        free_.pop_back();
        return index;
    }
    void give_back(std::uint32_t index) { resting_.push_back(index); }
    /// What was given back may be handed out again.
    void wait()
    {
        free_.insert(free_.end(), resting_.begin(), resting_.end());
        resting_.clear();
    }

    /// Goes on in this memory, which has room for all that was handed out.
    void move_to(std::span<Element> memory)
    {
        std::copy_n(memory_.begin(), used_, memory.begin());
        memory_ = memory;
        own_ = {};
        grows_ = false;
    }

    Element& operator[](std::uint32_t index) { return memory_[index]; }
    const Element& operator[](std::uint32_t index) const { return memory_[index]; }

    /// Elements up to the last that was ever handed out.
    std::size_t extent() const { return used_; }
    /// What can still be handed out, without and with a wait.
    std::size_t left() const { return free_.size() + (memory_.size() - used_); }
    std::size_t left_after_wait() const { return left() + resting_.size(); }

private:
    bool grows_ = true;
    std::vector<Element> own_;
    std::span<Element> memory_;
    std::uint32_t used_;
    std::vector<std::uint32_t> free_, resting_;
};

/// Every change is one store that packets see whole, or one for each of up to 16 neighbouring networks. It is for one thread.
class SetTrees {
public:
    /// Sets 0 to `sets` - 1, all empty, in memory of their own.
    explicit SetTrees(std::size_t sets) : roots_(sets), root_memory_{roots_} {}
    SetTrees(SetTrees&&) = default;
    SetTrees& operator=(SetTrees&&) = default;

    /// Elements that all maps need, and `more` prefixes at the worst.
    std::size_t pages_for(std::size_t more) const { return pages_.extent() + more; }
    std::size_t records_for(std::size_t more) const { return records_.extent() + 2 * more; }

    /// Copies the trees into the memory of the fast path and goes on there. Memory must outlive this.
    void move_to(std::span<fw_set_roots> roots, std::span<fw_set_page> pages, std::span<fw_set_record> records);

    /// Whether `changes` find room for certain: one for each prefix to be inserted, and each that lies in an erased one.
    /// `wait` is called where memory that was in use has to be free of packets first: it returns when all that are under way
    /// now are done.
    bool has_room(std::size_t changes, const std::function<void()>& wait);

    void insert(std::size_t set, const Prefix& prefix);
    /// The prefix is in the set, and in no other one of it. `inside` are the prefixes of the set that lie in it and stay; sorted.
    void erase(std::size_t set, const Prefix& prefix, const std::vector<Prefix>& inside);

    /// As the fast path does it.
    bool contains(std::size_t set, const Address& address) const;

    /// Bytes that the set's trees take; it walks through them.
    std::size_t bytes(std::size_t set) const;

private:
    using Cell = std::uint32_t;
    /// A prefix in the mapped form.
    struct Bits {
        Number128 value = 0;
        unsigned length = 0;
    };
    /// A cell on the way to a prefix, `depth` bits into it.
    struct Step {
        Cell* cell;
        unsigned depth;
    };

    static Bits bits_of(const Prefix& prefix);
    static Bits bits_of(const fw_set_record& record);
    /// The cells of a page at `depth` that the prefix, which ends there, covers.
    std::span<Cell> covered(Cell page, const Bits& bits, unsigned depth);

    fw_set_record& record(Cell cell) { return records_[cell & ~FW_CELL_RECORD]; }
    const fw_set_record& record(Cell cell) const { return records_[cell & ~FW_CELL_RECORD]; }
    Cell make_record(const Bits& bits, Cell next);
    /// What stands for the prefix in a cell at `depth`.
    Cell leaf(const Bits& bits, unsigned depth) { return bits.length <= depth ? Cell{FW_CELL_ALL} : make_record(bits, FW_CELL_ALL); }
    void ensure(std::size_t changes);
    void insert(Cell* cell, unsigned depth, const Bits& bits);
    /// A page in place of the record in the cell: in it the record and the prefix, which part after `shared` bits.
    void fork(Cell& cell, unsigned depth, const Bits& bits, unsigned shared);
    /// The way to where the prefix is: the cell last, before it those that lead there.
    std::vector<Step> way_to(Cell& root, unsigned depth, const Bits& bits);
    /// A cell at `depth` with those prefixes that lie in the network.
    Cell build(const Bits& network, unsigned depth, const std::vector<Prefix>& prefixes);
    /// Makes what leads to a changed cell as short as it can be; the true of it is that the cell before may shrink, too.
    bool shrink(Cell& cell, unsigned depth, const Bits& bits);
    Cell shrunk_page(const fw_set_page& page, Cell cell, unsigned depth, const Bits& bits);
    void retire(Cell cell);
    std::size_t bytes_of(Cell cell) const;

    std::vector<fw_set_roots> roots_;
    std::span<fw_set_roots> root_memory_;
    SetPool<fw_set_page> pages_{FW_CELL_ALL + 1};
    SetPool<fw_set_record> records_{0};
};

} // namespace evnf::fw
