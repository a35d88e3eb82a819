// SPDX-License-Identifier: MIT
/// The plugin that behaves; the others differ from it in one thing each.
#pragma once

#include <evnf/plugin.hpp>

#include "pass_bpf.skel.h"

template <class Skeleton = pass_bpf>
class GoodStaged : public evnf::Staged {
public:
    std::unique_ptr<evnf::FastPath> open(evnf::FastPathHook) override { return std::make_unique<evnf::SkeletonFastPath<Skeleton>>(); }
    bool leaves_chain() const override { return false; }
    void commit(std::shared_ptr<const evnf::Maps>) noexcept override {}
};

class Good : public evnf::Plugin {
public:
    explicit Good(evnf::Host&) {}
    std::unique_ptr<evnf::Staged> stage(const evnf::Node&, const evnf::Ports&) override
    {
        return std::make_unique<GoodStaged<>>();
    }
    boost::json::value query(std::string_view, const std::vector<std::string>&) override
    {
        throw evnf::UnknownVerb{{"nothing"}};
    }
};
