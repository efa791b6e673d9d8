// The options of `zerrow query` that other commands don't have.
#pragma once

#include <CLI/CLI.hpp>

#include "cli/arguments.h"

namespace zerrow::cli {

void AddQueryOptions(CLI::App* app, QueryOptions* options);

/// What they say together. CLI::Error: they contradict each other.
void CheckQueryOptions(QueryOptions* options);

}  // namespace zerrow::cli
