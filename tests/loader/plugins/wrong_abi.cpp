// SPDX-License-Identifier: MIT
#include <cstdlib>

#include "good.hpp"

extern "C" __attribute__((visibility("default"))) const evnf::PluginDescriptor evnf_plugin;
// None of its code may run: that would end the test.
const evnf::PluginDescriptor evnf_plugin{evnf::kPluginAbi + 1, 1, "wrong_abi", nullptr, evnf::OnError::skip,
                                         [](evnf::Host&) -> std::unique_ptr<evnf::Plugin> { std::abort(); }};
