// SPDX-License-Identifier: MIT
/// One plugin's shared object: found, checked, opened.
#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include <evnf/plugin.hpp>

namespace evnf {

/// Where plugins live: ../lib/evnf beside the directory of the running executable, or `override`.
std::filesystem::path plugin_directory();

/// An opened module. Never closed: code of a plugin may still be on the way (handlers, thread-local
/// destructors) long after its last object is gone.
class PluginLibrary {
public:
    /// Opens `directory/module.so`. Throws std::runtime_error that names the path when the file is missing, may be
    /// written by others than its owner root, exports no descriptor, or was built for another ABI.
    PluginLibrary(const std::filesystem::path& directory, const std::string& module);

    const PluginDescriptor& descriptor() const noexcept { return *descriptor_; }

private:
    const PluginDescriptor* descriptor_;
};

} // namespace evnf
