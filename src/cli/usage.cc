#include "cli/usage.h"

#include <sstream>
#include <vector>

#include "engine/near_names.h"

namespace zerrow::cli {

namespace {

constexpr size_t kNameColumn = 26;  // where descriptions start
constexpr size_t kHelpWidth = 100;

std::string Wrapped(const std::string& text, size_t width) {
  std::string lines;
  size_t used = 0;
  std::istringstream words(text);
  for (std::string word; words >> word;) {
    const bool fits = used + 1 + word.size() <= width;
    if (!lines.empty()) lines += fits ? ' ' : '\n';
    used = fits && !lines.empty() ? used + 1 + word.size() : word.size();
    lines += word;
  }
  return lines;
}

std::string UnknownOption(const CLI::App* app, const std::string& word) {
  const std::string option = word.substr(0, word.find('='));
  std::vector<std::string> names;
  for (const CLI::Option* each : app->get_options()) {
    for (const std::string& name : each->get_lnames()) names.push_back("--" + name);
  }
  return "there is no option " + option + engine::DidYouMean(option, names);
}

}  // namespace

HelpFormatter::HelpFormatter() {
  column_width(kNameColumn);
  label("SUBCOMMAND", "COMMAND");
  label("Positionals", "Arguments");
}

std::string HelpFormatter::make_option_desc(const CLI::Option* option) const {
  return Wrapped(option->get_description(), kHelpWidth - kNameColumn);
}

std::string HelpFormatter::make_description(const CLI::App* app) const {
  return app->get_description() + "\n\n";
}

std::string UsageError(const CLI::App* app, const CLI::Error& error) {
  std::string command = "zerrow";
  const std::vector<std::string> unknown = app->remaining(/*recurse=*/true);
  while (!app->get_subcommands().empty()) {
    app = app->get_subcommands().front();
    command += " " + app->get_name();
  }
  std::string what = error.what();
  std::vector<std::string> commands;
  for (const CLI::App* each : app->get_subcommands({})) commands.push_back(each->get_name());
  if (!unknown.empty() && unknown.front().starts_with("-")) {
    what = UnknownOption(app, unknown.front());
  } else if (!commands.empty()) {
    what = unknown.empty() ? "a command is missing: " + CLI::detail::join(commands, ", ")
                           : "there is no command '" + unknown.front() + "'" +
                                 engine::DidYouMean(unknown.front(), commands);
  } else if (!unknown.empty()) {
    what = "'" + unknown.front() + "' is one word too many";
  }
  return command + ": " + what + "\nTry: " + command + " --help\n";
}

}  // namespace zerrow::cli
