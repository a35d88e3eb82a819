// SPDX-License-Identifier: MIT
#include "chain.hpp"

#include "evnfd/log.hpp"
#include "evnfd/report.hpp"

namespace evnf::test {

namespace {

const FastPathClock& the_clock()
{
    static const FastPathClock clock;
    return clock;
}

InstanceContext context(boost::asio::io_context& io)
{
    // The plugins as built, not those beside the test's executable.
    return {io.get_executor(), &the_clock(), make_log(LogStyle::plain, spdlog::level::err), EVNF_PLUGIN_DIR, true};
}

} // namespace

Chain::Chain(const std::string& yaml) : dataplane_{context(io_), nullptr, true}
{
    reload(yaml);
}

Result Chain::run(std::string_view port, const std::vector<std::byte>& frame)
{
    return run_packet(dataplane_, std::string{port}, frame);
}

void Chain::reload(const std::string& yaml)
{
    auto candidate = dataplane_.stage_text(yaml, "test.yaml");
    if (at_tc)
        for (auto& port : candidate.blueprint.settings.ports) port.hook = Hook::tc;
    dataplane_.load(candidate);
    dataplane_.commit(std::move(candidate));
}

boost::json::value Chain::query(std::string_view instance, std::string_view verb, std::vector<std::string> args)
{
    return dataplane_.instances().at(std::string{instance})->query(verb, args);
}

MapRef Chain::map(std::string_view instance, const std::string& name)
{
    if (name == "evnf_chain" && at_tc) return dataplane_.generation().framework_map("evnf_tc_chain");
    if (name.starts_with("evnf_")) return dataplane_.generation().framework_map(name);
    return dataplane_.generation().maps(std::string{instance})->get(name);
}

boost::json::value Chain::stats()
{
    return evnf::stats(dataplane_, 0);
}

int Chain::entry(std::string_view port) const
{
    return entry_of(dataplane_, std::string{port});
}

double Chain::cost_ns(std::string_view port, const std::vector<std::byte>& frame, unsigned repeat)
{
    return packet_cost_ns(dataplane_, std::string{port}, frame, repeat);
}

} // namespace evnf::test
