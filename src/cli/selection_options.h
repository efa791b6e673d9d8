// What of a project a command is about: --select and --exclude.
#pragma once

#include <CLI/CLI.hpp>
#include <string_view>

#include "cli/arguments.h"

namespace zerrow::cli {

/// Adds the options; the command's help then ends with kSelectors.
void AddSelection(CLI::App* app, RunOptions* run);

inline constexpr std::string_view kSelectors = R"(

A SELECTOR is a model's name, a pattern such as 'stg_*', tag:NAME, or state:failed: what failed in
the last run of this project and what depends on it. +MODEL adds what it needs, MODEL+ what needs
it, +MODEL+ both, and so for patterns and tags. Parts with commas between them (tag:daily,late+)
mean what each of them means; several options what any of them does. What is selected by name,
pattern or tag is final: --preview shows it, --output writes it. What it needs runs as well, even
if it is excluded.)";

}  // namespace zerrow::cli
