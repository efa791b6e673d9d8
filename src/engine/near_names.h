// Finds the name that somebody probably meant, for error messages. Pure; any thread.
#pragma once

#include <string>
#include <vector>

namespace zerrow::engine {

/// "; did you mean \"x\"?" if one of `names` is close to `name`, "; there is a, b and c" if there
/// are few of them, else empty.
std::string DidYouMean(const std::string& name, const std::vector<std::string>& names);

}  // namespace zerrow::engine
