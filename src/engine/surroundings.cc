#include "engine/surroundings.h"

#include <arrow/util/utf8.h>
#include <unistd.h>

#include <array>
#include <string_view>

namespace zerrow::engine {

namespace {

// Terminals, sessions and shells; what a test's runner says about the test. Anything else may be
// read by an import, and so makes another zygote.
constexpr std::array<std::string_view, 22> kLate = {
    "COLORTERM",      "COLUMNS",      "GPG_TTY",   "LINES",
    "OLDPWD",         "PWD",          "SHLVL",     "SSH_CLIENT",
    "SSH_TTY",        "STY",          "TERM",      "SSH_CONNECTION",
    "TERM_PROGRAM",   "TMUX",         "TMUX_PANE", "PYTEST_CURRENT_TEST",
    "VTE_VERSION",    "WINDOWID",     "_",         "TERM_PROGRAM_VERSION",
    "XDG_SESSION_ID", "ZERROW_ENGINE"};

}  // namespace

Environment OwnEnvironment() {
  Environment variables;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string_view text(*entry);
    const size_t equals = text.find('=');
    if (equals == std::string_view::npos) continue;
    variables.emplace(text.substr(0, equals), text.substr(equals + 1));
  }
  return variables;
}

Environment TakeLate(Environment& environment) {
  arrow::util::InitializeUTF8();
  Environment late;
  for (const std::string_view name : kLate) {
    const auto found = environment.find(std::string(name));
    // Workers are told in JSON.
    if (found == environment.end() || !arrow::util::ValidateUTF8(found->second)) continue;
    late.insert(environment.extract(found));
  }
  return late;
}

}  // namespace zerrow::engine
