// What the command says of its own options: their help, and what is wrong with those that were
// given.
#pragma once

#include <CLI/CLI.hpp>
#include <string>

namespace zerrow::cli {

/// CLI11's help, with long descriptions in lines and a blank line before the usage.
class HelpFormatter final : public CLI::Formatter {
 public:
  HelpFormatter();
  std::string make_option_desc(const CLI::Option* option) const override;
  std::string make_description(const CLI::App* app) const override;
};

/// CLI11's error in our words: where, what, what to do.
std::string UsageError(const CLI::App* app, const CLI::Error& error);

}  // namespace zerrow::cli
