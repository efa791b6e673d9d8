// The options of `zerrow simulate`.
//
// Knows CLI11, as arguments.cc does, which adds the command.
#pragma once

#include <CLI/CLI.hpp>

#include "cli/arguments.h"

namespace zerrow::cli {

/// What only this command has, and its help's end. `options` outlives `app`.
void AddSimulateOptions(CLI::App* app, SimulateOptions* options);

}  // namespace zerrow::cli
