#include "engine/selector.h"

#include <fnmatch.h>

#include <algorithm>
#include <iterator>
#include <map>
#include <optional>
#include <string_view>
#include <utility>

#include "engine/near_names.h"

namespace zerrow::engine {

using arrow::Result;
using arrow::Status;

namespace {

using Set = std::set<size_t>;
constexpr std::string_view kTag = "tag:";
constexpr std::string_view kState = "state:";

bool IsPattern(std::string_view text) { return text.find_first_of("*?[") != text.npos; }

bool Matches(const std::string& pattern, const std::string& name) {
  return ::fnmatch(pattern.c_str(), name.c_str(), 0) == 0;
}

std::vector<std::string> Parts(const std::string& text) {
  std::vector<std::string> parts;
  for (size_t begin = 0; begin <= text.size(); begin += parts.back().size() + 1) {
    parts.push_back(text.substr(begin, text.find(',', begin) - begin));
  }
  return parts;
}

Set Intersection(const Set& a, const Set& b) {
  Set both;
  std::ranges::set_intersection(a, b, std::inserter(both, both.end()));
  return both;
}

class Selector {
 public:
  Selector(const std::vector<Selectable>& items, const std::vector<std::string>& failed)
      : items_(items), failed_(failed.begin(), failed.end()), readers_(items.size()) {
    for (size_t i = 0; i < items.size(); ++i) {
      by_name_.emplace(items[i].name, i);
      for (const size_t input : items[i].inputs) readers_[input].push_back(i);
    }
  }

  /// What one option's value means.
  Result<Set> Resolve(const std::string& option, const std::string& value) const {
    if (const auto named = by_name_.find(value); named != by_name_.end()) return Set{named->second};
    std::optional<Set> meant;
    for (const std::string& part : Parts(value)) {
      if (part.empty()) return Status::Invalid(option, " '", value, "' lacks a name");
      ARROW_ASSIGN_OR_RAISE(Set found, Term(option, part));
      meant = meant ? Intersection(*meant, found) : std::move(found);
    }
    return *std::move(meant);
  }

  /// These and all that can be reached from them.
  Set Needed(Set from) const {
    return Reach(
        std::move(from), [this](size_t i) -> auto& { return items_[i].inputs; });
  }
  Set Needing(Set from) const {
    return Reach(
        std::move(from), [this](size_t i) -> auto& { return readers_[i]; });
  }

  Set Models() const {
    Set models;
    for (size_t i = 0; i < items_.size(); ++i) {
      if (!items_[i].is_source) models.insert(i);
    }
    return models;
  }

 private:
  template <typename Next>
  static Set Reach(Set from, Next next) {
    std::vector<size_t> open(from.begin(), from.end());
    while (!open.empty()) {
      const size_t at = open.back();
      open.pop_back();
      for (const size_t other : next(at)) {
        if (from.insert(other).second) open.push_back(other);
      }
    }
    return from;
  }

  Result<Set> Term(const std::string& option, const std::string& text) const {
    if (const auto named = by_name_.find(text); named != by_name_.end()) return Set{named->second};
    const bool up = text.starts_with('+');
    const bool down = text.size() > size_t{up} && text.ends_with('+');
    const std::string base = text.substr(up, text.size() - size_t{up} - size_t{down});
    ARROW_ASSIGN_OR_RAISE(const Set found, Base(option, base));
    Set meant = found;
    if (up) meant.merge(Needed(found));
    if (down || base == kFailedState) meant.merge(Needing(found));
    // Nobody wants all of a source who didn't say so by its name.
    return Intersection(meant, Models());
  }

  Result<Set> Base(const std::string& option, const std::string& base) const {
    if (base.starts_with(kState)) return State(option, base);
    if (base.starts_with(kTag)) return Tagged(option, base.substr(kTag.size()));
    if (const auto named = by_name_.find(base); named != by_name_.end()) return Set{named->second};
    std::vector<std::string> names;
    for (const Selectable& item : items_) names.push_back(item.name);
    if (!IsPattern(base)) {
      return Status::Invalid("unknown model \"", base, "\" in ", option, DidYouMean(base, names));
    }
    Set found;
    for (size_t i = 0; i < items_.size(); ++i) {
      if (Matches(base, items_[i].name)) found.insert(i);
    }
    if (found.empty()) {
      return Status::Invalid("no model is called like \"", base, "\" in ", option,
                             DidYouMean(base, names));
    }
    return found;
  }

  Result<Set> Tagged(const std::string& option, const std::string& pattern) const {
    Set found;
    std::set<std::string> tags;
    for (size_t i = 0; i < items_.size(); ++i) {
      for (const std::string& tag : items_[i].tags) {
        tags.insert(tag);
        if (tag == pattern || Matches(pattern, tag)) found.insert(i);
      }
    }
    if (!found.empty()) return found;
    return Status::Invalid("no model has the tag \"", pattern, "\" of ", option,
                           DidYouMean(pattern, {tags.begin(), tags.end()}));
  }

  Result<Set> State(const std::string& option, const std::string& base) const {
    if (base != kFailedState) {
      return Status::Invalid("there is no \"", base, "\" for ", option, ", only ", kFailedState);
    }
    Set found;
    for (const std::string& name : failed_) {
      if (const auto named = by_name_.find(name); named != by_name_.end()) {
        found.insert(named->second);
      }
    }
    return found;
  }

  const std::vector<Selectable>& items_;
  const std::set<std::string> failed_;
  std::map<std::string, size_t> by_name_;
  std::vector<std::vector<size_t>> readers_;
};

bool NamesMore(const std::string& selector) {
  return std::ranges::any_of(Parts(selector), [](const std::string& part) {
    return part.find(kFailedState) == part.npos;
  });
}

Status NothingLeft(const std::vector<std::string>& select, bool excluded) {
  if (excluded) return Status::Invalid("--exclude leaves nothing of what is selected");
  const bool only_failed = std::ranges::none_of(select, NamesMore);
  return only_failed ? Status::Invalid("nothing failed in the last run of this project")
                     : Status::Invalid("no model is all that --select asks for");
}

}  // namespace

Result<Selection> Select(const std::vector<Selectable>& items,
                         const std::vector<std::string>& select,
                         const std::vector<std::string>& exclude,
                         const std::vector<std::string>& failed) {
  const Selector selector(items, failed);
  Set selected = select.empty() ? selector.Models() : Set();
  Set named;
  for (const std::string& value : select) {
    ARROW_ASSIGN_OR_RAISE(const Set found, selector.Resolve("--select", value));
    selected.insert(found.begin(), found.end());
    if (NamesMore(value)) named.insert(found.begin(), found.end());
  }
  const bool any = !selected.empty();
  for (const std::string& value : exclude) {
    ARROW_ASSIGN_OR_RAISE(const Set found, selector.Resolve("--exclude", value));
    for (const size_t item : found) selected.erase(item);
  }
  if (selected.empty() && !items.empty()) return NothingLeft(select, any);
  return Selection{selector.Needed(selected), Intersection(named, selected)};
}

bool AsksForFailed(const std::vector<std::string>& selectors) {
  return std::ranges::any_of(selectors, [](const std::string& selector) {
    return selector.find(kFailedState) != selector.npos;
  });
}

}  // namespace zerrow::engine
