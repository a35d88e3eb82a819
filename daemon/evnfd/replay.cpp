// SPDX-License-Identifier: MIT
#include "replay.hpp"

#include <fmt/format.h>

#include <array>
#include <boost/json.hpp>
#include <iterator>

#include "capture.hpp"
#include "packet_runner.hpp"
#include "report.hpp"

namespace evnf {

namespace json = boost::json;

namespace {

/// Counts by verdict, and packets that could not be run.
struct Summary {
    std::uint64_t packets = 0, skipped = 0;
    std::array<std::uint64_t, EVNF_VERDICTS> verdicts{};

    json::object counts() const
    {
        json::object object{{"packets", packets}};
        for (const auto verdict : {EVNF_FORWARD, EVNF_DROP, EVNF_KERNEL, EVNF_LOCAL, EVNF_REPLY})
            object[verdict_name(verdict)] = verdicts[verdict];
        object["skipped"] = skipped;
        return object;
    }
};

json::object describe(std::uint64_t number, const Outcome& outcome)
{
    json::object line{{"packet", number}, {"verdict", verdict_name(outcome.verdict)}, {"stage", outcome.stage}};
    line["reason"] = outcome.packet.reason == EVNF_REASON_NONE ? json::value(nullptr) : json::value(outcome.reason);
    for (const auto& [name, explained] : outcome.plugins) line[name] = explained;
    return line;
}

json::object describe_skipped(std::uint64_t number, const std::string& reason)
{
    return {{"packet", number}, {"verdict", "skipped"}, {"stage", nullptr}, {"reason", reason}};
}

void print(std::ostream& out, const json::object& line, bool as_json)
{
    if (as_json) {
        out << line << '\n';
        return;
    }
    const auto text = [&](const char* key) {
        const auto& value = line.at(key);
        return value.is_string() ? std::string{value.as_string()} : std::string{"-"};
    };
    out << fmt::format("{:>7}  {:<8} {:<10} {:<22}", line.at("packet").as_uint64(), text("verdict"), text("stage"), text("reason"));
    for (const auto& [key, value] : line)
        if (value.is_object() && !value.as_object().empty()) out << "  " << std::string_view{key} << '=' << json::serialize(value);
    out << '\n';
}

/// The last line: counts, and of each plugin the table that it is known by.
json::object summarise(const Dataplane& dataplane, const Summary& summary)
{
    json::object line{{"summary", summary.counts()}};
    for (const auto& [name, instance] : dataplane.instances())
        if (const char* verb = instance->descriptor().summary) line[name] = json::object{{verb, instance->query(verb, {})}};
    return line;
}

} // namespace

void replay(const ReplayOptions& options, InstanceContext context, std::ostream& out)
{
    CaptureReader reader{options.capture.string()};
    context.rings_by_hand = true;
    Dataplane dataplane{std::move(context), nullptr, true};
    auto candidate = dataplane.stage_file(options.config);
    if (!candidate.blueprint.ports.slots.contains(options.port))
        throw std::runtime_error{fmt::format("--port {}: {} has no such port", options.port, options.config)};
    dataplane.load(candidate);
    dataplane.commit(std::move(candidate));

    std::optional<CaptureWriter> writer;
    if (options.write) writer.emplace(options.write->string());
    Summary summary;
    while (const auto frame = reader.next()) {
        const auto number = ++summary.packets;
        const auto unusable = frame->unusable.empty() ? cannot_run(dataplane, options.port, frame->bytes) : frame->unusable;
        if (!unusable.empty()) {
            ++summary.skipped;
            print(out, describe_skipped(number, unusable), options.json);
            continue;
        }
        const Outcome outcome = run_packet(dataplane, options.port, frame->bytes);
        ++summary.verdicts.at(outcome.verdict);
        print(out, describe(number, outcome), options.json);
        if (writer && (outcome.verdict == EVNF_FORWARD || outcome.verdict == EVNF_REPLY)) writer->write(outcome.frame, frame->time);
    }
    if (writer) writer->close();
    const auto last = summarise(dataplane, summary);
    if (options.json)
        out << last << '\n';
    else
        for (const auto& [key, value] : last) out << std::string_view{key} << ": " << value << '\n';
}

} // namespace evnf
