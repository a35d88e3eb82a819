// SPDX-License-Identifier: MIT
#include "policies.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <boost/algorithm/string/predicate.hpp>
#include <evnf/dscp.hpp>

#include "offload.hpp"

namespace evnf::dpi {

namespace {

std::uint64_t read_risks(const Node& node, const std::vector<std::string>& known)
{
    std::uint64_t risks = 0;
    for (const auto& one : node.list()) {
        const auto name = one.string();
        const auto found = std::ranges::find_if(known, [&](const std::string& risk) { return boost::iequals(risk, name); });
        if (found == known.end())
            one.error(fmt::format("nDPI knows no risk '{}'; it knows: {}", name, fmt::join(known, ", ")));
        else
            risks |= std::uint64_t{1} << (found - known.begin());
    }
    return risks;
}

void read_action(Map& map, Policy& policy)
{
    enum class Action { allow, drop, mark, count };
    const auto action = map.required("action");
    const auto chosen = action.one_of<Action>(
        {{"allow", Action::allow}, {"drop", Action::drop}, {"mark", Action::mark}, {"count", Action::count}});
    policy.action = chosen == Action::drop ? DPI_DROP : chosen == Action::mark ? DPI_MARK : DPI_ALLOW;
    const auto dscp = map.optional("dscp");
    if (policy.action == DPI_MARK && !dscp) action.error("mark wants a dscp");
    if (!dscp) return;
    if (policy.action != DPI_MARK) dscp->error("only action mark has a dscp");
    if (const auto named = dscp_number(dscp->string()))
        policy.dscp = *named;
    else
        policy.dscp = static_cast<std::uint8_t>(dscp->integer(0, 63));
}

Policy read_policy(const Node& node, const Vocabulary& known)
{
    Policy policy;
    Map map{node};
    std::vector<std::string> asked;
    const auto note = [&](const Node& value, const char* key) {
        for (const auto& one : value.list()) asked.push_back(fmt::format("{} {}", key, one.string()));
    };
    if (auto apps = map.optional("app")) policy.apps = read_names(*apps, "application", known.apps, is_app), note(*apps, "app");
    if (auto categories = map.optional("category"))
        policy.categories = read_names(*categories, "category", known.categories, is_category), note(*categories, "category");
    if (auto risks = map.optional("risk")) policy.risks = read_risks(*risks, known.risks), note(*risks, "risk");
    if (asked.empty()) node.error("a policy asks for app, category or risk");
    read_action(map, policy);
    policy.text = fmt::format("{}: {}", fmt::join(asked, " or "), map.required("action").string());
    if (policy.action == DPI_MARK) policy.text += fmt::format(" {}", dscp_text(policy.dscp));
    map.done();
    return policy;
}

bool asks_for(const Policy& policy, const std::string& app, const std::string& category)
{
    return std::ranges::any_of(policy.apps, [&](const auto& wanted) { return is_app(app, wanted); }) ||
           std::ranges::any_of(policy.categories, [&](const auto& wanted) { return is_category(category, wanted); });
}

} // namespace

std::vector<Policy> read_policies(const Node& node, const Vocabulary& known)
{
    std::vector<Policy> policies;
    for (const auto& one : node.list()) policies.push_back(read_policy(one, known));
    if (policies.size() >= DPI_MAX_POLICIES) node.error(fmt::format("more than {} policies", DPI_MAX_POLICIES - 1));
    return policies;
}

Policies::Policies(const Maps& maps, std::vector<Policy> policies)
    : of_app_{maps.get("dpi_policy_of_app")}, policed_{maps.get("dpi_policed")}, policies_{std::move(policies)}
{
    const auto rows = maps.get("dpi_policies");
    for (std::uint32_t i = 0; i < policies_.size(); ++i)
        rows.update(i + 1, dpi_policy{policies_[i].risks, static_cast<__u8>(policies_[i].action), policies_[i].dscp, {}});
}

void Policies::tell(std::uint32_t number, const std::string& app, const std::string& category) const
{
    const auto found = std::ranges::find_if(policies_, [&](const Policy& policy) { return asks_for(policy, app, category); });
    const auto policy = found == policies_.end() ? 0 : static_cast<std::uint32_t>(found - policies_.begin()) + 1;
    of_app_.update(number, policy);
}

std::string Policies::text_for(const std::string& app, const std::string& category, std::uint64_t risks) const
{
    const auto found = std::ranges::find_if(policies_, [&](const Policy& policy) { return policy.risks & risks || asks_for(policy, app, category); });
    return found == policies_.end() ? "" : found->text;
}

void Policies::continue_from(const Policies& former)
{
    for (const auto& [text, count] : former.counts()) before_[text] = count;
}

std::vector<std::pair<std::string, Policed>> Policies::counts() const
{
    std::vector<std::pair<std::string, Policed>> counts;
    for (std::uint32_t i = 0; i < policies_.size(); ++i) {
        const auto before = before_.find(policies_[i].text);
        Policed sum = before == before_.end() ? Policed{} : before->second;
        for (const auto& cpu : policed_.find_per_cpu<dpi_policed>(i + 1)) {
            sum.packets += cpu.packets;
            sum.bytes += cpu.bytes;
        }
        counts.emplace_back(policies_[i].text, sum);
    }
    return counts;
}

} // namespace evnf::dpi
