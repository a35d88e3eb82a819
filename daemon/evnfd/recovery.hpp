// SPDX-License-Identifier: MIT
/// What a start does first with the pins that it finds: whatever killed the daemon before, and whenever, traffic
/// keeps its chain and its state, and nothing of somebody else is taken for ours.
///
/// The swap of generation N for N+1 changes the pins in this order; each step is one or several that are atomic:
///
///     1. next/state/*    the state maps that N+1 does not share with N, the record `meta` the last of them
///        next/entries/*  its entries
///        next/programs/* what else runs at tc
///                        and all that packets of N+1 find on their way through the kernel: the VIPs' routes, its place
///                        in evnf_generations, its filters at tc egress
///     2. chains/N+1      the swap has begun; a second chain is pinned before
///     3. links and filters of ports are pointed at N+1, one by one, and new ones made
///     4. next/entries/* and next/programs/* are renamed over entries/* and programs/*
///     5. next/state/* are renamed over state/*, `meta` the last of them: the swap is done
///     6. what N alone used goes: links and entries of ports, state; and chains/N, once no packet can come back to it
///
/// and undoing it, when step 3 fails: links back to N, chains/N+1 goes, next/ goes. So a kill
///
///     before 2       finds traffic on N and its maps: next/ is removed, and nothing has happened;
///     from 2 to 5    finds traffic on N, on N+1, or on both. N+1 is whole and was tested, and its maps may hold
///                    connections already: the swap is finished, from 3 on, whatever was done of it;
///     after 5        finds traffic on N+1: what 6 left over goes with the first swap of the new daemon.
///
/// The record in next/ and its chain tell which it is: they are both there from 2 to 5 and at no other time. A kill
/// during detach is none of these: ports whose links are gone have no chain, the others keep theirs.
#pragma once

#include <spdlog/logger.h>

#include <filesystem>

#include "pin_directory.hpp"

namespace evnf {

/// Opens the pin directory; what is foreign or damaged in it is removed with a message, and a swap that a kill cut
/// off is finished or undone. Throws as PinDirectory does, and when a pin cannot be removed.
PinDirectory recover_pins(const std::filesystem::path& path, spdlog::logger& log);

} // namespace evnf
