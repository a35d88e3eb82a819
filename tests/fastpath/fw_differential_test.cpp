// SPDX-License-Identifier: MIT
/// The firewall in the kernel against rules tried one after the other: random rules, random packets.
#include <boost/json.hpp>

#include <algorithm>

#include "catch.hpp"
#include "chain.hpp"
#include "fw_random_frames.hpp"
#include "fw_random_rules.hpp"

using namespace evnf::test;

namespace {

/// Ports a, b and c, each with the chain [fw].
std::string configuration(const std::string& settings)
{
    return "ports: [{name: a, chain: [fw]}, {name: b, chain: [fw]}, {name: c, chain: [fw]}]\nplugins: {fw: " +
           settings + "}\n";
}

std::string rule_of(const Result& result)
{
    return result.plugins.at("fw").at("rule").as_string().c_str();
}

std::string text_of(const std::vector<FwModelRule>& model, const std::string& name)
{
    const auto found =
        std::find_if(model.begin(), model.end(), [&](const auto& rule) { return rule.name == name; });
    return found == model.end() ? name : fw_rule_text(*found);
}

/// One frame, in the kernel and in the model.
void compare(Chain& chain, const std::vector<FwModelRule>& model, std::mt19937& random, const Frame& frame)
{
    const std::string port(1, static_cast<char>('a' + random() % 3));
    const auto result = chain.run(port, frame);
    const auto wanted = fw_decides(model, reference_parse(frame), port), decided = rule_of(result);
    INFO("port " << port << " " << describe(frame) << "\nwanted  " << text_of(model, wanted) << "\ndecided "
                 << text_of(model, decided));
    REQUIRE(result.reason != "search_limit");
    REQUIRE(decided == wanted);
}

} // namespace

TEST_CASE("fw: random rules decide random packets as rules tried one after the other do")
{
    const auto seed = std::random_device{}();
    std::mt19937 random{seed};
    INFO("seed " << seed);
    for (int policy = 0; policy < 12; ++policy) {
        const auto model = random_fw_rules(random, 1 + random() % 400);
        INFO("policy " << policy << " of " << model.size() << " rules");
        Chain chain{configuration(fw_settings(model, "drop"))};
        for (int i = 0; i < 400; ++i)
            compare(chain, model, random, i % 3 ? random_fw_frame(random) : fw_frame_near(random, model));
    }
}

TEST_CASE("fw: thousands of rules decide as rules tried one after the other do")
{
    const auto seed = std::random_device{}();
    std::mt19937 random{seed};
    INFO("seed " << seed);
    for (const unsigned size : {1u, 10u, 100u, 1000u, 3000u, 10000u}) {
        INFO(size << " rules");
        const auto model = structured_fw_rules(random, size);
        Chain chain{configuration(fw_settings(model, "drop"))};
        for (int i = 0; i < 400; ++i)
            compare(chain, model, random, i % 5 ? fw_frame_near(random, model) : random_fw_frame(random));
    }
}
