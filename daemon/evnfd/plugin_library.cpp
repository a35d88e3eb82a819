// SPDX-License-Identifier: MIT
#include "plugin_library.hpp"

#include <dlfcn.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>
#include <stdexcept>

namespace evnf {

namespace {

/// What another user could write, another user could make us run.
void check_trusted(const std::filesystem::path& path)
{
    struct stat status {};
    if (stat(path.c_str(), &status) != 0)
        throw std::runtime_error{fmt::format("{}: {}", path.string(), std::strerror(errno))};
    const bool ours = status.st_uid == 0 || status.st_uid == geteuid();
    if (!ours || (status.st_mode & (S_IWGRP | S_IWOTH)))
        throw std::runtime_error{fmt::format(
            "{}: must belong to root and be writable by nobody else (chown root, chmod go-w)", path.string())};
}

} // namespace

std::filesystem::path plugin_directory()
{
    const auto executable = std::filesystem::read_symlink("/proc/self/exe");
    return executable.parent_path().parent_path() / "lib" / "evnf";
}

PluginLibrary::PluginLibrary(const std::filesystem::path& directory, const std::string& module)
{
    const auto path = directory / (module + ".so");
    check_trusted(path);
    void* handle = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    if (!handle) throw std::runtime_error{fmt::format("{}: cannot be opened: {}", path.string(), dlerror())};
    descriptor_ = static_cast<const PluginDescriptor*>(dlsym(handle, "evnf_plugin"));
    if (!descriptor_)
        throw std::runtime_error{fmt::format(
            "{}: is no eVNF plugin: it exports no 'evnf_plugin' (EVNF_PLUGIN in evnf/plugin.hpp)", path.string())};
    if (descriptor_->abi != kPluginAbi)
        throw std::runtime_error{fmt::format("{}: was built for plugin ABI {}, this evnfd has ABI {}: rebuild the plugin",
                                             path.string(), descriptor_->abi, kPluginAbi)};
    if (!descriptor_->name || !descriptor_->create)
        throw std::runtime_error{fmt::format("{}: its descriptor lacks a name or a create function", path.string())};
}

} // namespace evnf
