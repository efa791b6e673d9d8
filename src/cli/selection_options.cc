#include "cli/selection_options.h"

namespace zerrow::cli {

void AddSelection(CLI::App* app, RunOptions* run) {
  const auto add = [app](const char* name, std::vector<std::string>* values, const char* what) {
    // Repeating it adds to it; it never swallows what follows.
    app->add_option(name, *values, what)
        ->option_text("SELECTOR")
        ->allow_extra_args(false)
        ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  };
  add("--select", &run->select, "Only these models and what they need; see below; may be repeated");
  add("--exclude", &run->exclude, "Not these, of what is selected; may be repeated");
}

}  // namespace zerrow::cli
