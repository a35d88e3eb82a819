// SPDX-License-Identifier: MIT
#include "program_loader.hpp"

#include <fcntl.h>
#include <fmt/format.h>

#include <cstdarg>
#include <cstring>
#include <stdexcept>

#include "errno_hint.hpp"

namespace evnf {

namespace {

/// What libbpf says while a program is loaded: the verifier's log among it. Only its end matters.
thread_local std::string libbpf_messages;

int keep_message(libbpf_print_level level, const char* format, va_list arguments)
{
    constexpr std::size_t kKept = 4096;
    if (level != LIBBPF_WARN) return 0;
    va_list measured;
    va_copy(measured, arguments);
    const int length = vsnprintf(nullptr, 0, format, measured);
    va_end(measured);
    if (length <= 0) return 0;
    std::string text(static_cast<std::size_t>(length) + 1, '\0');
    vsnprintf(text.data(), text.size(), format, arguments);
    text.pop_back();
    libbpf_messages += text;
    if (libbpf_messages.size() > kKept) libbpf_messages.erase(0, libbpf_messages.size() - kKept);
    return 0;
}

[[noreturn]] void throw_load_error(int error, const std::string& what)
{
    if (libbpf_messages.find("END PROG LOAD LOG") == std::string::npos)
        throw std::runtime_error{fmt::format("{}\n{}", describe_errno(error, what), libbpf_messages)};
    throw std::runtime_error{fmt::format("{}: the kernel's verifier refuses it ({}): use a build of it for this kernel; the verifier's last words:\n{}",
                                         what, std::strerror(error), libbpf_messages)};
}

bool is_framework_map(std::string_view name)
{
    return name.starts_with("evnf_");
}

const char* hook_of(FastPathHook hook)
{
    return hook == FastPathHook::tc ? "tc" : "XDP";
}

bpf_program* only_program(bpf_object* object, const std::string& owner, FastPathHook hook)
{
    const auto type = hook == FastPathHook::tc ? BPF_PROG_TYPE_SCHED_CLS : BPF_PROG_TYPE_XDP;
    bpf_program *program = nullptr, *found = nullptr;
    bpf_object__for_each_program(program, object) {
        if (bpf_program__type(program) != type) continue;
        if (found) throw std::runtime_error{fmt::format("plugin {}: its BPF object has more than one {} program", owner, hook_of(hook))};
        found = program;
    }
    if (!found) throw std::runtime_error{fmt::format("plugin {}: its BPF object has no {} program", owner, hook_of(hook))};
    return found;
}

void set_config(bpf_object* object, const std::string& owner, const evnf_stage_config& config)
{
    bpf_map* map = bpf_object__find_map_by_name(object, ".rodata.evnf");
    std::size_t size = 0;
    void* value = map ? const_cast<void*>(bpf_map__initial_value(map, &size)) : nullptr;
    if (!value || size != sizeof config)
        throw std::runtime_error{fmt::format("plugin {}: its BPF object was not built against this evnf/stage.bpf.h", owner)};
    std::memcpy(value, &config, sizeof config);
}

MapInfo wanted_info(const bpf_map* map)
{
    return {bpf_map__type(map), bpf_map__key_size(map), bpf_map__value_size(map), bpf_map__max_entries(map),
            bpf_map__map_flags(map)};
}

Fd duplicate(int fd, const std::string& name)
{
    Fd copy{fcntl(fd, F_DUPFD_CLOEXEC, 0)};
    if (!copy) throw_errno(errno, fmt::format("cannot keep map {}", name));
    return copy;
}

} // namespace

MapRef OwnedMaps::get(const std::string& name) const
{
    const auto found = fds_.find(name);
    if (found == fds_.end()) throw std::out_of_range{fmt::format("{} has no map {}", owner_, name)};
    return {found->second.get(), name};
}

void OwnedMaps::add(const std::string& name, int fd)
{
    fds_.emplace(name, duplicate(fd, name));
}

ProgramLoader::ProgramLoader(const StateStore& state, std::shared_ptr<OwnedMaps> framework) : state_{state}
{
    libbpf_set_print(keep_message);
    if (framework) maps_[kFramework] = std::move(framework);
}

OwnedMaps& ProgramLoader::maps_of(const std::string& owner)
{
    auto& maps = maps_[owner];
    if (!maps) maps = std::make_shared<OwnedMaps>(owner);
    return *maps;
}

std::shared_ptr<OwnedMaps> ProgramLoader::maps(const std::string& owner) const
{
    const auto found = maps_.find(owner);
    if (found == maps_.end()) throw std::out_of_range{fmt::format("{} is in no chain", owner)};
    return found->second;
}

/// Gives the object's maps what is there already: of this generation, or state of earlier ones.
void ProgramLoader::share_maps(bpf_object* object, const std::string& owner)
{
    bpf_map* map = nullptr;
    bpf_object__for_each_map(map, object)
    {
        if (bpf_map__is_internal(map)) continue;
        const std::string name = bpf_map__name(map);
        const std::string holder = is_framework_map(name) ? kFramework : owner;
        const bool is_state = bpf_map__pin_path(map) != nullptr;
        if (is_state) state_maps_.emplace(holder, name);
        bpf_map__set_pin_path(map, nullptr); // the StateStore pins, when the generation goes live
        int error = 0;
        if (maps_of(holder).has(name)) {
            error = bpf_map__reuse_fd(map, maps_of(holder).get(name).fd());
        } else if (is_state) {
            const Fd* kept = state_.fitting(holder, name, wanted_info(map));
            if (kept)
                error = bpf_map__reuse_fd(map, kept->get());
            else
                made_.push_back({holder, name, Fd{}}); // its descriptor comes with loading
        }
        if (error) throw_errno(-error, fmt::format("{}: cannot reuse map {}", owner, name));
    }
}

void ProgramLoader::remember_maps(bpf_object* object, const std::string& owner)
{
    bpf_map* map = nullptr;
    bpf_object__for_each_map(map, object)
    {
        if (bpf_map__is_internal(map)) continue;
        const std::string name = bpf_map__name(map);
        auto& maps = maps_of(is_framework_map(name) ? kFramework : owner);
        if (!maps.has(name)) maps.add(name, bpf_map__fd(map));
    }
    for (auto& made : made_)
        if (!made.fd) made.fd = duplicate(maps_of(made.owner).get(made.name).fd(), made.name);
}

int ProgramLoader::load(std::unique_ptr<FastPath> copy, const std::string& owner, FastPathHook hook, const evnf_stage_config& config)
{
    bpf_object* object = copy->object();
    maps_of(owner); // a plugin may have none of its own
    bpf_program* program = only_program(object, owner, hook);
    set_config(object, owner, config);
    share_maps(object, owner);
    libbpf_messages.clear();
    if (const int error = bpf_object__load(object))
        throw_load_error(-error, fmt::format("{}: cannot load its {} program", owner, hook_of(hook)));
    remember_maps(object, owner);
    objects_[owner].push_back(std::move(copy));
    return bpf_program__fd(program);
}

void ProgramLoader::take(ProgramLoader& other, const std::string& owner)
{
    maps_[owner] = std::move(other.maps_.at(owner));
    objects_[owner] = std::move(other.objects_.at(owner));
}

} // namespace evnf
