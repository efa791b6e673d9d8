// Which of a project's models are meant: what --select and --exclude say.
//
// A selector is the name of a model or source, a pattern (*, ?, [ab]), tag:PATTERN or state:failed;
// a + before it adds all that it needs, a + after it all that needs it. Several with commas between
// them mean what all of these mean; several --select what any of them does. A name that has such
// characters means itself. Pure; any thread.
#pragma once

#include <arrow/result.h>

#include <cstddef>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace zerrow::engine {

/// The selector of what failed in the last run, and what depends on it.
inline constexpr std::string_view kFailedState = "state:failed";

/// A model, expectation or source.
struct Selectable {
  std::string name;
  std::vector<std::string> tags;
  std::vector<size_t> inputs;  // what it reads, by index
  bool is_source = false;
};

struct Selection {
  std::set<size_t> runs;  // what is selected, and all that this needs
  /// Of these, what somebody has selected, and so wants to have. Not what only state:failed did, or
  /// nobody: then that is wanted which no other reads.
  std::set<size_t> wanted;
};

/// Without `select` it is all models, but no source. What one that is left needs runs though it is
/// excluded. `failed`: names of the last run, which needn't be there any more.
/// Invalid: a name, pattern or tag that is unknown, or nothing is selected.
arrow::Result<Selection> Select(const std::vector<Selectable>& items,
                                const std::vector<std::string>& select,
                                const std::vector<std::string>& exclude,
                                const std::vector<std::string>& failed);

/// One of them asks what failed.
bool AsksForFailed(const std::vector<std::string>& selectors);

}  // namespace zerrow::engine
